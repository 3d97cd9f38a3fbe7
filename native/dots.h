// Dot products of bytes of weights with int8 inputs: one of each output of a vector.
//
// A word is four inputs' bytes of an output. `add` takes words in ascending order, number `q` of kCount, and the
// row's four inputs, the same for all outputs. Weights are below 2^kBits, or signed; where instructions take
// unsigned ones only, kBiased, signed ones come 128 too large, and `sum` starts from what makes up for that.
// kRowsAtOnce rows share a word once it is in a register, as far as there are registers for their sums.
#pragma once

#include "inputs.h"

namespace DYNEXIT_ISA {

#if defined(__AVX512F__) || defined(__AVXVNNI__)
constexpr bool kBiased = true;
#else
constexpr bool kBiased = false;
#endif

#if defined(__AVX512F__) && !defined(__AVX512VNNI__)
template <int kBits>
constexpr int kRowsAtOnce = kBits == 8 ? 1 : 2;
#elif defined(__AVX2__) && !defined(__AVX512F__)
template <int kBits>
constexpr int kRowsAtOnce = 4;
#else
template <int kBits>
constexpr int kRowsAtOnce = 2;
#endif

// Sums in 16 bits stay in the order they are written in. Compilers would add them as a tree, of more numbers than
// there are registers: a third slower.
#if defined(__AVX512F__)
inline void keep_order(__m512i& sum) { asm("" : "+v"(sum)); }
#elif defined(__AVX2__)
inline void keep_order(__m256i& sum) { asm("" : "+x"(sum)); }
#endif

// How many pairs of products have a sum that 16 bits hold.
constexpr int together(int bits, int count) {
    const int most = bits <= 4 ? 8 : bits == 5 ? 4 : bits <= 7 ? 2 : 1;
    return most < count ? most : count;
}

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
template <int kBits, bool kSigned, int kCount>
struct Dot {
    Ints sum;
    void add(int, Words weights, Words inputs) {
#if defined(__AVX512VNNI__)
        sum = Ints(_mm512_dpbusd_epi32(__m512i(sum), as_register(weights), as_register(inputs)));
#else
        sum = Ints(_mm256_dpbusd_avx_epi32(__m256i(sum), as_register(weights), as_register(inputs)));
#endif
    }
};
#elif defined(__AVX512F__)
// Of bytes, the sum of whose products 16 bits do not hold, even and odd inputs are widened.
template <int kBits, bool kSigned, int kCount>
struct Dot {
    Ints sum;
    __m512i pairs;
    void add(int q, Words weights, Words inputs) {
        const __m512i w = as_register(weights), x = as_register(inputs);
        if constexpr (kBits == 8) {
            const __m512i even = _mm512_and_si512(w, _mm512_set1_epi16(0xFF)), odd = _mm512_srli_epi16(w, 8);
            const __m512i low = _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8), high = _mm512_srai_epi16(x, 8);
            sum += Ints(_mm512_madd_epi16(even, low));
            sum += Ints(_mm512_madd_epi16(odd, high));
        } else {
            constexpr int kTogether = together(kBits, kCount);
            const __m512i pair = _mm512_maddubs_epi16(w, x);
            pairs = q % kTogether == 0 ? pair : _mm512_add_epi16(pairs, pair);
            keep_order(pairs);
            if (q % kTogether == kTogether - 1) sum += Ints(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
        }
    }
};
#elif defined(__AVX2__)
template <int kBits, bool kSigned, int kCount>
struct Dot {
    Ints sum;
    __m256i pairs;
    void add(int q, Words weights, Words inputs) {
        constexpr int kTogether = kSigned ? 1 : together(kBits, kCount);
        __m256i w = as_register(weights), x = as_register(inputs);
        if constexpr (kSigned) {
            x = _mm256_sign_epi8(x, w);
            w = _mm256_abs_epi8(w);
        }
        const __m256i pair = _mm256_maddubs_epi16(w, x);
        pairs = q % kTogether == 0 ? pair : _mm256_add_epi16(pairs, pair);
        keep_order(pairs);
        if (q % kTogether == kTogether - 1) sum += Ints(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
};
#else
template <int kBits, bool kSigned, int kCount>
struct Dot {
    Ints sum;
    void add(int, Words weights, Words inputs) {
#if defined(__ARM_FEATURE_DOTPROD)
        sum = Ints(vdotq_s32(int32x4_t(sum), load_as<int8x16_t>(&weights), load_as<int8x16_t>(&inputs)));
#else
        const Ints w = load_as<Ints>(&weights), x = load_as<Ints>(&inputs);
        for (int i = 0; i < 4; ++i) sum += (w << (24 - 8 * i) >> 24) * (x << (24 - 8 * i) >> 24);
#endif
    }
};
#endif

}  // namespace DYNEXIT_ISA
