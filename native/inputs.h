// Inputs of products with quantised weights: int8 in blocks of 32, and their dot products.
#pragma once

#include <cstddef>

#include "simd.h"

namespace DYNEXIT_ISA {

typedef int32_t Ints __attribute__((vector_size(kLanes * 4), aligned(4)));

constexpr int kBlock = 32;  // inputs that share a scale
constexpr int kQuads = kBlock / 4;

// 32 inputs of a row. Sums are those of the whole and of its halves, as the int8 numbers stand for them.
struct InputBlock {
    float scale, sum, halves[2];
    int8_t values[kBlock];
};

// The lowest byte of each word.
inline Bytes lowest_bytes(Ints words) {
#if defined(__AVX512F__)
    const __m128i bytes = _mm512_cvtepi32_epi8(load_as<__m512i>(&words));
    return load_as<Bytes>(&bytes);
#elif defined(__AVX2__)
    const __m256i first = _mm256_shuffle_epi8(load_as<__m256i>(&words), _mm256_set1_epi32(0x0C080400));
    const __m256i bytes = _mm256_permutevar8x32_epi32(first, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
    return load_as<Bytes>(&bytes);
#else
    return __builtin_convertvector(words, Bytes);
#endif
}

// Replaces a row's floats by blocks, in ascending order: a block takes less room than its floats.
inline void quantise_inputs(float* row, int inputs) {
    constexpr float kRounding = 12582912.0f;  // 1.5 * 2^23: the lowest byte of what is added to it is its int8
    constexpr float kSmallest = 1e-30f;       // as good as nothing, and its inverse is still a number
    constexpr int kVectors = kBlock / kLanes;
    char* to = reinterpret_cast<char*>(row);
    for (int i = 0; i < inputs; i += kBlock, to += sizeof(InputBlock)) {
        Floats values[kVectors], largest{}, none{};
        for (int v = 0; v < kVectors; ++v) {
            values[v] = load(row + i + v * kLanes);
            largest = maximum(largest, maximum(values[v], Floats{} - values[v]));
            none += values[v] - values[v];  // 0, or not a number
        }
        InputBlock block;
        const float most = maximum(largest), inverse = most > kSmallest ? 127.0f / most : 0.0f;
        Floats sums[2] = {};
        for (int v = 0; v < kVectors; ++v) {
            const Floats shifted = values[v] * inverse + kRounding;
            const Ints bits = load_as<Ints>(&shifted);
            const Bytes bytes = lowest_bytes(bits);
            std::memcpy(block.values + v * kLanes, &bytes, sizeof bytes);
            sums[v * 2 / kVectors] += shifted - kRounding;
        }
        block.scale = most / 127.0f + sum(none);
        for (int half = 0; half < 2; ++half) block.halves[half] = sum(sums[half]) * block.scale;
        block.sum = block.halves[0] + block.halves[1];
        std::memcpy(to, &block, sizeof block);
    }
}

// Dot products of bytes of weights, four inputs a word, with those inputs. Weights are below 2^kBits, or
// signed. Where instructions take unsigned weights only, kBiased, signed ones come 128 too large.
#if defined(__AVX512VNNI__) || defined(__AVX512F__)
constexpr bool kBiased = true;
#else
constexpr bool kBiased = false;
#endif

#if defined(__AVX512F__)
inline __m512i as_register(Words words) { return load_as<__m512i>(&words); }
inline __m512i four_inputs(const int8_t* at) { return _mm512_set1_epi32(load_as<int32_t>(at)); }
#elif defined(__AVX2__)
inline __m256i as_register(Words words) { return load_as<__m256i>(&words); }
inline __m256i four_inputs(const int8_t* at) { return _mm256_set1_epi32(load_as<int32_t>(at)); }
#endif

#if defined(__AVX512VNNI__)
template <int kBits, bool kSigned>
inline Ints dots(const Words* weights, const int8_t* inputs, int quads) {
    __m512i sum = _mm512_setzero_si512();
    for (int q = 0; q < quads; ++q)
        sum = _mm512_dpbusd_epi32(sum, as_register(weights[q]), four_inputs(inputs + 4 * q));
    return load_as<Ints>(&sum);
}
#elif defined(__AVX512F__)
// Pairs are added in 16 bits as long as these hold them: so many quads of small weights, and of bytes none,
// whose even and odd inputs are widened.
template <int kBits, bool kSigned>
inline Ints dots(const Words* weights, const int8_t* inputs, int quads) {
    __m512i sum = _mm512_setzero_si512();
    if constexpr (kBits == 8) {
        for (int q = 0; q < quads; ++q) {
            const __m512i w = as_register(weights[q]), x = four_inputs(inputs + 4 * q);
            const __m512i even = _mm512_and_si512(w, _mm512_set1_epi16(0xFF)), odd = _mm512_srli_epi16(w, 8);
            const __m512i low = _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8), high = _mm512_srai_epi16(x, 8);
            sum = _mm512_add_epi32(sum, _mm512_madd_epi16(even, low));
            sum = _mm512_add_epi32(sum, _mm512_madd_epi16(odd, high));
        }
    } else {
        constexpr int kTogether = kBits <= 4 ? 8 : kBits == 5 ? 4 : 2;
        for (int q = 0; q < quads;) {
            __m512i pairs = _mm512_setzero_si512();
            for (int end = q + kTogether < quads ? q + kTogether : quads; q < end; ++q)
                pairs = _mm512_add_epi16(pairs, _mm512_maddubs_epi16(as_register(weights[q]), four_inputs(inputs + 4 * q)));
            sum = _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
        }
    }
    return load_as<Ints>(&sum);
}
#elif defined(__AVX2__)
template <int kBits, bool kSigned>
inline Ints dots(const Words* weights, const int8_t* inputs, int quads) {
    constexpr int kTogether = kSigned ? 1 : kBits <= 4 ? 8 : kBits == 5 ? 4 : 2;
    __m256i sum = _mm256_setzero_si256();
    for (int q = 0; q < quads;) {
        __m256i pairs = _mm256_setzero_si256();
        for (int end = q + kTogether < quads ? q + kTogether : quads; q < end; ++q) {
            __m256i w = as_register(weights[q]), x = four_inputs(inputs + 4 * q);
            if constexpr (kSigned) {
                x = _mm256_sign_epi8(x, w);
                w = _mm256_abs_epi8(w);
            }
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w, x));
        }
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    return load_as<Ints>(&sum);
}
#else
template <int kBits, bool kSigned>
inline Ints dots(const Words* weights, const int8_t* inputs, int quads) {
    Ints sum{};
    for (int q = 0; q < quads; ++q) {
#if defined(__ARM_FEATURE_DOTPROD)
        const int8x16_t x = vreinterpretq_s8_u32(vdupq_n_u32(load_as<uint32_t>(inputs + 4 * q)));
        sum = Ints(vdotq_s32(int32x4_t(sum), load_as<int8x16_t>(&weights[q]), x));
#else
        for (int i = 0; i < 4; ++i)
            sum += (load_as<Ints>(&weights[q]) << (24 - 8 * i) >> 24) * int32_t(inputs[4 * q + i]);
#endif
    }
    return sum;
}
#endif

// 16 signed bytes by number.
inline Words looked_up(const int8_t* table, Words numbers) {
#if defined(__AVX512F__)
    const __m512i values = _mm512_broadcast_i32x4(load_as<__m128i>(table));
    const __m512i found = _mm512_shuffle_epi8(values, as_register(numbers));
    return load_as<Words>(&found);
#elif defined(__AVX2__)
    const __m256i values = _mm256_broadcastsi128_si256(load_as<__m128i>(table));
    const __m256i found = _mm256_shuffle_epi8(values, as_register(numbers));
    return load_as<Words>(&found);
#else
    uint8_t bytes[sizeof(Words)];
    std::memcpy(bytes, &numbers, sizeof bytes);
    for (uint8_t& byte : bytes) byte = uint8_t(table[byte & 15]);
    return load_as<Words>(bytes);
#endif
}

// fp16 numbers as floats, exactly.
inline Floats from_halves(const char* at) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(load_as<__m256i>(at));
#elif defined(__AVX2__)  // whose processors all have this instruction
    return _mm256_cvtph_ps(load_as<__m128i>(at));
#else
    const Words bits = __builtin_convertvector(load_as<Halves>(at), Words), magnitude = bits & 0x7FFFu;
    const Floats scaled = as_floats(magnitude << 13) * 0x1p112f;
    const Words odd = load_as<Words>(&scaled) | 0x7F800000u;  // infinite, or not a number
    const Words value = magnitude >= 0x7C00u ? odd : load_as<Words>(&scaled);
    return as_floats(value | (bits & 0x8000u) << 16);
#endif
}

// Bytes as words, and numbers of words as floats.
inline Words from_bytes(const char* at) {
#if defined(__AVX512F__)
    const __m512i words = _mm512_cvtepu8_epi32(load_as<__m128i>(at));
    return load_as<Words>(&words);
#elif defined(__AVX2__)
    const __m256i words = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
    return load_as<Words>(&words);
#else
    typedef uint8_t Unsigned __attribute__((vector_size(kLanes), aligned(1)));
    return __builtin_convertvector(load_as<Unsigned>(at), Words);
#endif
}
inline Floats to_floats(Words numbers) { return __builtin_convertvector(load_as<Ints>(&numbers), Floats); }

}  // namespace DYNEXIT_ISA
