// Inputs of products with quantised weights: int8 in blocks of 32, and what unpacks their weights.
#pragma once

#include <cstddef>

#include "simd.h"

namespace DYNEXIT_ISA {

typedef int32_t Ints __attribute__((vector_size(kLanes * 4), aligned(4)));

constexpr int kBlock = 32;  // inputs that share a scale
constexpr int kQuads = kBlock / 4;

// Bytes of weights that are so much too large: what stands for zero.
constexpr int kZeros[] = {8, 16, 128};
constexpr int zero_place(int zero) { return zero == kZeros[0] ? 0 : zero == kZeros[1] ? 1 : 2; }

// 32 inputs of a row. Sums are those of the whole and of its halves, as the int8 numbers stand for them; `less` is
// what a dot product with such bytes starts from, minus each of `kZeros` times the sum of the int8 numbers.
struct InputBlock {
    float scale, sum, halves[2];
    int32_t less[3];
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

// Puts the block of 32 floats in place `number` of a row of blocks.
inline void quantise_block(const float* from, float* row, int number) {
    constexpr float kRounding = 12582912.0f;  // 1.5 * 2^23: the lowest byte of what is added to it is its int8
    constexpr float kSmallest = 1e-30f;       // as good as nothing, and its inverse is still a number
    constexpr int kVectors = kBlock / kLanes;
    Floats values[kVectors], sizes{}, none{};
    for (int v = 0; v < kVectors; ++v) {
        values[v] = load(from + v * kLanes);
        sizes = maximum(sizes, maximum(values[v], Floats{} - values[v]));
        none += values[v] - values[v];  // 0, or not a number
    }
    InputBlock block;
    const float most = largest(sizes), inverse = most > kSmallest ? 127.0f / most : 0.0f;
    Floats sums[2] = {};
    for (int v = 0; v < kVectors; ++v) {
        const Floats shifted = values[v] * inverse + kRounding;
        const Ints bits = load_as<Ints>(&shifted);
        const Bytes bytes = lowest_bytes(bits);
        std::memcpy(block.values + v * kLanes, &bytes, sizeof bytes);
        sums[v * 2 / kVectors] += shifted - kRounding;
    }
    block.scale = most / 127.0f + sum(none);
    const float halves[2] = {sum(sums[0]), sum(sums[1])}, whole = halves[0] + halves[1];
    for (int half = 0; half < 2; ++half) block.halves[half] = halves[half] * block.scale;
    block.sum = block.halves[0] + block.halves[1];
    for (int zero : kZeros) block.less[zero_place(zero)] = whole == whole ? -zero * int(whole) : 0;
    std::memcpy(reinterpret_cast<char*>(row) + number * sizeof block, &block, sizeof block);
}

// Replaces a row's floats by blocks, in ascending order: a block takes less room than its floats.
inline void quantise_inputs(float* row, int inputs) {
    for (int i = 0; i < inputs; i += kBlock) quantise_block(row + i, row, i / kBlock);
}

#if defined(__AVX512F__)
inline __m512i as_register(Words words) { return load_as<__m512i>(&words); }
#elif defined(__AVX2__)
inline __m256i as_register(Words words) { return load_as<__m256i>(&words); }
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
