// Vectors of floats as wide as a register: 16, 8 or 4 of them. The compiler does the rest; an
// instruction set is named only where it needs help.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace DYNEXIT_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Floats __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef uint16_t Halves __attribute__((vector_size(kLanes * 2), aligned(2)));
typedef int8_t Bytes __attribute__((vector_size(kLanes), aligned(1)));

// Whether the machine's own vectors are known here; else the compiler's for any machine of its kind.
#if defined(__AVX2__) || defined(__aarch64__)
constexpr bool kTuned = true;
#else
constexpr bool kTuned = false;
#endif

// Whether two pairs of bf16 numbers are multiplied and added in one instruction. Emulated, it is only
// for tests, on machines that lack it.
#if defined(__AVX512BF16__) || defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC) || defined(DYNEXIT_EMULATE_DOTS)
constexpr bool kDots = true;
#else
constexpr bool kDots = false;
#endif

template <class Vector>
inline Vector load_as(const void* from) {
    Vector value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline Floats load(const float* from) { return load_as<Floats>(from); }
inline void store(float* to, Floats value) { std::memcpy(to, &value, sizeof value); }

// Where only `room` numbers may be left; lanes past them are 0 or not stored.
inline Floats load(const float* from, int room) {
    if (room >= kLanes) return load(from);
    Floats value{};
    if (room > 0) std::memcpy(&value, from, size_t(room) * sizeof(float));
    return value;
}

inline void store(float* to, Floats value, int room) {
    if (room >= kLanes) return store(to, value);
    if (room > 0) std::memcpy(to, &value, size_t(room) * sizeof(float));
}

inline Floats all(float value) { return value - Floats{}; }
inline Floats as_floats(Words bits) { return load_as<Floats>(&bits); }

// A word holds two bf16 numbers; each is the upper half of a float.
inline Floats lower(Words pair) { return as_floats(pair << 16); }
inline Floats upper(Words pair) { return as_floats(pair & 0xFFFF0000u); }

// Numbers below the smallest normal one as 0.
inline Floats flushed(Floats x) { return (load_as<Words>(&x) & 0x7F800000u) == 0 ? Floats{} : x; }

// Adds the products of both numbers of each word: the upper ones first, as VDPBF16PS does it, or their sum,
// as BFDOT does. BFMMLA would be twice as fast, but takes rows in pairs and weights in another order.
inline Floats dot(Floats sum, Words weights, uint32_t inputs) {
#if defined(__AVX512BF16__)
    return _mm512_dpbf16_ps(sum, load_as<__m512bh>(&weights), __m512bh(_mm512_set1_epi32(int(inputs))));
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
    return vbfdotq_f32(sum, load_as<bfloat16x8_t>(&weights), vreinterpretq_bf16_u32(vdupq_n_u32(inputs)));
#else
    const Words pair = Words{} + inputs;
    sum = flushed(sum + flushed(upper(weights)) * flushed(upper(pair)));
    return flushed(sum + flushed(lower(weights)) * flushed(lower(pair)));
#endif
}

// To bf16: the nearest, ties to even, as VCVTNEPS2BF16 does it.
inline Halves narrowed(Floats x) {
#if defined(__AVX512BF16__)
    const __m256bh halves = _mm512_cvtneps_pbh(x);
    return load_as<Halves>(&halves);
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
    const bfloat16x4_t halves = vcvt_bf16_f32(x);
    return load_as<Halves>(&halves);
#else
    const Floats value = flushed(x);
    const Words bits = load_as<Words>(&value);
    const Words rounded = (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
    const Words none = bits >> 16 | 0x40;
    return __builtin_convertvector((bits & 0x7FFFFFFFu) > 0x7F800000u ? none : rounded, Halves);
#endif
}

// Signed bytes as floats.
inline Floats widened(const char* from) {
#if defined(__AVX512F__)
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#elif defined(__AVX2__)
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#elif defined(__aarch64__)
    // Each byte goes to the top of a word, 2^24 times as large; the conversion takes that back.
    constexpr uint8_t zero = 255;
    const uint8x16_t places = {zero, zero, zero, 0, zero, zero, zero, 1, zero, zero, zero, 2, zero, zero, zero, 3};
    const uint8x16_t bytes = vreinterpretq_u8_u32(vdupq_n_u32(load_as<uint32_t>(from)));
    return vcvtq_n_f32_s32(vreinterpretq_s32_u8(vqtbl1q_u8(bytes, places)), 24);
#else
    return __builtin_convertvector(load_as<Bytes>(from), Floats);
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

// All lanes joined, in a fixed order: halves, until one lane is left.
template <class Join>
inline float joined(Floats value, Join&& join) {
#if defined(__AVX512F__)
    const __m512 all = __m512(value);
    const auto eight = join(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
#elif defined(__AVX2__)
    const __m256 eight = __m256(value);
#endif
#if defined(__AVX2__)
    const __m128 four = join(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = join(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(join(two, _mm_movehdup_ps(two)));
#else
    float part[kLanes];
    store(part, value);
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) part[i] = join(part[i], part[i + width]);
    return part[0];
#endif
}
inline float sum(Floats value) {
    return joined(value, [](auto a, auto b) { return a + b; });
}

// Of numbers that all are some.
inline float largest(Floats value) {
    return joined(value, [](auto a, auto b) { return a > b ? a : b; });
}

inline Floats maximum(Floats a, Floats b) { return a > b ? a : b; }

inline float maximum(Floats value) {
    float part[kLanes];
    store(part, value);
    float best = part[0];
    for (int i = 1; i < kLanes; ++i) best = part[i] > best ? part[i] : best;
    return best;
}

// e^x within 2 units of the last place; 0 for x <= -87, e^88 beyond 88, and no number of none.
inline Floats exponential(Floats x) {
    const Floats lowest = all(-87.0f), highest = all(88.0f);
    const Floats clipped = x < lowest ? lowest : x > highest ? highest : x;
    const Floats rounding = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    const Floats shifted = clipped * 1.44269504088896341f + rounding;
    const Floats whole = shifted - rounding;
    Floats rest = clipped - whole * 0.693359375f;
    rest = rest - whole * -2.12194440e-4f;
    Floats y = all(1.0f / 5040);  // the series up to rest^7 / 7!, |rest| <= 0.35
    y = y * rest + 1.0f / 720;
    y = y * rest + 1.0f / 120;
    y = y * rest + 1.0f / 24;
    y = y * rest + 1.0f / 6;
    y = y * rest + 0.5f;
    y = y * rest * rest + rest + 1.0f;
    const Words power = (load_as<Words>(&shifted) << 23) + 0x3F800000u;
    return x <= lowest ? Floats{} : y * as_floats(power);
}

inline uint16_t to_bf16(float value) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

inline float from_bf16(uint16_t value) {
    const uint32_t bits = uint32_t(value) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

// Of a number that fp16 holds exactly.
inline uint16_t to_fp16(float value) {
    const float scaled = value * 0x1p-112f;  // with the exponent that fp16 has
    uint32_t bits, whole;
    std::memcpy(&bits, &scaled, sizeof bits);
    std::memcpy(&whole, &value, sizeof whole);
    const bool finite = (whole & 0x7F800000u) != 0x7F800000u;
    return uint16_t((whole >> 16 & 0x8000u) | (finite ? bits >> 13 & 0x7FFFu : 0x7C00u | (whole >> 13 & 0x3FFu)));
}

inline float from_fp16(uint16_t value) {
    char room[sizeof(Halves)] = {};
    std::memcpy(room, &value, sizeof value);
    return from_halves(room)[0];
}

}  // namespace DYNEXIT_ISA
