// A linear layer's weights, packed once and read in one stream, and their product with n rows.
//
// Outputs lie in groups of 32. Within a group, every pair of inputs has its weights of the 32 outputs
// side by side. Every result is one sum over the inputs in ascending order, whatever runs beside it:
// a row's result never depends on how many rows there are.
#pragma once

#include <algorithm>
#include <cstddef>

#include "simd.h"

namespace DYNEXIT_ISA {

constexpr int kGroup = 32;  // outputs that lie together
constexpr int kPerGroup = kGroup / kLanes;

enum class Dtype : int32_t { bf16 = 0, fp32 = 1, int8 = 2, fp16 = 4 };

template <size_t kBytes>
inline void swap_bytes(char* one, char* other) {
    char kept[kBytes];
    std::memcpy(kept, one, kBytes);
    std::memcpy(one, other, kBytes);
    std::memcpy(other, kept, kBytes);
}

// How a pair of inputs' weights of vector `v` of a group become floats, and where a single weight is.
struct Bf16 {
    static constexpr size_t kPairBytes = kGroup * 4;
    static Floats even(const char* pair, int v) { return lower(load_as<Words>(pair + v * sizeof(Words))); }
    static Floats odd(const char* pair, int v) { return upper(load_as<Words>(pair + v * sizeof(Words))); }
    static size_t place(int input, int lane) { return size_t(lane) * 4 + input % 2 * 2; }
    static void put(char* at, float value) {
        const uint16_t bits = to_bf16(value);
        std::memcpy(at, &bits, sizeof bits);
    }
    static void exchange(char* one, char* other) { swap_bytes<2>(one, other); }
};

struct Fp32 {
    static constexpr size_t kPairBytes = kGroup * 8;
    static Floats even(const char* pair, int v) { return load_as<Floats>(pair + v * sizeof(Floats)); }
    static Floats odd(const char* pair, int v) { return even(pair + kGroup * 4, v); }
    static size_t place(int input, int lane) { return (size_t(input % 2) * kGroup + lane) * 4; }
    static void put(char* at, float value) { std::memcpy(at, &value, sizeof value); }
    static void exchange(char* one, char* other) { swap_bytes<4>(one, other); }
};

struct Fp16 {
    static constexpr size_t kPairBytes = kGroup * 4;
    static Floats even(const char* pair, int v) { return from_halves(pair + v * sizeof(Halves)); }
    static Floats odd(const char* pair, int v) { return even(pair + kGroup * 2, v); }
    static size_t place(int input, int lane) { return (size_t(input % 2) * kGroup + lane) * 2; }
    static void put(char* at, float value) {
        const uint16_t bits = to_fp16(value);
        std::memcpy(at, &bits, sizeof bits);
    }
};

struct Int8 {
    static constexpr size_t kPairBytes = kGroup * 2;
    static Floats even(const char* pair, int v) { return widened(pair + v * kLanes); }
    static Floats odd(const char* pair, int v) { return even(pair + kGroup, v); }
    static size_t place(int input, int lane) { return size_t(input % 2) * kGroup + lane; }
};

// How a tile multiplies a pair: its even inputs and then its odd ones, as floats,
template <class Format>
struct Widened {
    using Weights = Floats;
    static constexpr int kSteps = 2;
    static constexpr size_t kPairBytes = Format::kPairBytes;
    static Floats weights(const char* pair, int v, int step) {
        return step == 0 ? Format::even(pair, v) : Format::odd(pair, v);
    }
    static float input(const float* row, int k, int step) { return row[k + step]; }
    static Floats add(Floats sum, Floats weights, float input) { return sum + weights * input; }
};

// or both at once, where inputs are bf16, too.
struct Dots {
    using Weights = Words;
    static constexpr int kSteps = 1;
    static constexpr size_t kPairBytes = Bf16::kPairBytes;
    static Words weights(const char* pair, int v, int) { return load_as<Words>(pair + v * sizeof(Words)); }
    static uint32_t input(const float* row, int k, int) {
        return load_as<uint32_t>(reinterpret_cast<const uint16_t*>(row) + k);
    }
    static Floats add(Floats sum, Words weights, uint32_t inputs) { return dot(sum, weights, inputs); }
};

// Floats from one row of inputs to the next: an odd number of cache lines, so that the same input of
// several rows is never in one set of the first-level cache.
constexpr int kLine = 16;
constexpr size_t spaced(int inputs) { return size_t((inputs + kLine - 1) / kLine | 1) * kLine; }

// Stores inputs [index, index + room) of a row that a product reads: fp32, or bf16 from where the row
// begins, so that fp32 numbers may be replaced by their bf16 in ascending order.
inline void put_inputs(float* row, int index, Floats value, int room, bool narrow) {
    if (!narrow) return store(row + index, value, room);
    const Halves halves = narrowed(value);
    std::memcpy(reinterpret_cast<uint16_t*>(row) + index, &halves, size_t(std::clamp(room, 0, kLanes)) * 2);
}

// What becomes of a tile: sums[r * vectors + v] is row `row + r`, vector `first + v`.
struct Taker {
    void* context;
    void (*take)(void* context, int row, int rows, int first, int vectors, const Floats* sums);
};

// Hardware fetches ahead too little while several rows compute; over a tile's end lies the next one.
constexpr size_t kAhead = 2048;

template <int kNearness = 3>  // 3 is the first-level cache, 2 the second
inline void prefetch(const char* from, size_t bytes) {
    for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(from + line, 0, kNearness);
}

struct Operands {
    const char* weights;
    size_t group_bytes;
    const float* x;  // [rows, inputs], spaced, as `put_inputs` stores them
    int inputs;
};

// kRows rows from `row` times kVectors vectors of outputs from `first`.
template <class Pairs, int kRows, int kVectors>
void tile(const Operands& o, int row, int first, const Taker& taker) {
    Floats sums[kRows][kVectors];
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) sums[r][v] = Floats{};
    const char* at = o.weights + first / kPerGroup * o.group_bytes;
    const size_t stride = spaced(o.inputs);
    const float* rows = o.x + row * stride;
    const int inside = first % kPerGroup;  // where a tile starts that is narrower than a group
    for (int k = 0; k < o.inputs; k += 2, at += Pairs::kPairBytes) {
        typename Pairs::Weights weights[Pairs::kSteps][kVectors];
        for (int v = 0; v < kVectors; ++v) {
            const char* pair = at + v / kPerGroup * o.group_bytes;
            for (int step = 0; step < Pairs::kSteps; ++step)
                weights[step][v] = Pairs::weights(pair, inside + v % kPerGroup, step);
            if (v % kPerGroup == 0) prefetch(pair + kAhead, Pairs::kPairBytes);
        }
        for (int step = 0; step < Pairs::kSteps; ++step)
            for (int r = 0; r < kRows; ++r)
                for (int v = 0; v < kVectors; ++v)
                    sums[r][v] = Pairs::add(sums[r][v], weights[step][v],
                                            Pairs::input(rows + r * stride, k, step));
    }
    Floats result[kRows * kVectors];  // a copy: sums whose address is known would not stay in registers
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) result[r * kVectors + v] = sums[r][v];
    taker.take(taker.context, row, kRows, first, kVectors, result);
}

// How many vectors a tile of so many rows has, by the number of registers; they divide a group, or
// are whole groups.
#if defined(__AVX512F__)
constexpr int kMostRows = 12;
constexpr int vectors(int rows) { return rows <= 6 ? 4 : 2; }
#elif defined(__aarch64__)
constexpr int kMostRows = 8;
constexpr int vectors(int rows) { return rows <= 2 ? 8 : rows <= 5 ? 4 : 2; }
#else
constexpr int kMostRows = 6;
constexpr int vectors(int rows) { return rows == 1 ? 8 : rows <= 3 ? 4 : 2; }
#endif
static_assert(kPerGroup % vectors(2) == 0 || vectors(2) % kPerGroup == 0);

// `rows` rows over vectors [first, last): tiles as wide as registers allow, then of a group.
template <class Pairs, int kRows = 1>
void product(const Operands& o, int row, int rows, int first, int last, const Taker& taker) {
    if constexpr (kRows < kMostRows)
        if (rows > kRows) return product<Pairs, kRows + 1>(o, row, rows, first, last, taker);
    constexpr int kVectors = vectors(kRows);
    for (; first + kVectors <= last; first += kVectors) tile<Pairs, kRows, kVectors>(o, row, first, taker);
    if constexpr (kVectors > kPerGroup)
        for (; first < last; first += kPerGroup) tile<Pairs, kRows, kPerGroup>(o, row, first, taker);
}

struct Matrix {
    char* weights = nullptr;
    const float* bias = nullptr;   // [padded outputs], or none
    const float* scale = nullptr;  // [padded outputs] with int8, else none
    int outputs = 0, inputs = 0;
    int depth = 0;  // inputs that there is room for: more than `inputs` in a cache, always even
    Dtype dtype = Dtype::bf16;

    // Whether products read their inputs as bf16.
    bool narrow() const { return kDots && dtype == Dtype::bf16; }

    int groups() const { return (outputs + kGroup - 1) / kGroup; }
    int padded() const { return groups() * kGroup; }
    size_t pair_bytes() const {
        return dtype == Dtype::bf16   ? Bf16::kPairBytes
               : dtype == Dtype::fp32 ? Fp32::kPairBytes
               : dtype == Dtype::fp16 ? Fp16::kPairBytes
                                      : Int8::kPairBytes;
    }
    size_t group_bytes() const { return pair_bytes() * (depth / 2); }
    size_t bytes() const { return group_bytes() * groups(); }

    // Inputs [first, first + count), `first` being even.
    Matrix part(int first, int count) const {
        Matrix m = *this;
        m.weights += pair_bytes() * (first / 2);
        m.inputs = count;
        return m;
    }

    char* at(int output, int input) const {
        char* pair = weights + group_bytes() * (output / kGroup) + pair_bytes() * (input / 2);
        const int lane = output % kGroup;
        return pair + (dtype == Dtype::bf16   ? Bf16::place(input, lane)
                       : dtype == Dtype::fp32 ? Fp32::place(input, lane)
                       : dtype == Dtype::fp16 ? Fp16::place(input, lane)
                                              : Int8::place(input, lane));
    }

    void put(int output, int input, float value) const {
        if (dtype == Dtype::bf16) Bf16::put(at(output, input), value);
        else if (dtype == Dtype::fp32) Fp32::put(at(output, input), value);
        else if (dtype == Dtype::fp16) Fp16::put(at(output, input), value);
        else *at(output, input) = char(std::lrintf(value / scale[output]));
    }

    float get(int output, int input) const {
        const char* from = at(output, input);
        if (dtype == Dtype::bf16) return from_bf16(load_as<uint16_t>(from));
        if (dtype == Dtype::fp32) return load_as<float>(from);
        if (dtype == Dtype::fp16) return from_fp16(load_as<uint16_t>(from));
        return float(int8_t(*from)) * scale[output];
    }

    // x [rows, inputs], spaced, as `put_inputs` stores them, times groups [first, last); the sink gets
    // (row, vector, its outputs), and all vectors of a group for a row in ascending order.
    template <class Sink>
    void times(const float* x, int rows, int first, int last, Sink&& sink) const {
        // With many rows, a block of weights stays in the second-level cache for all of them.
        constexpr size_t kBlockBytes = size_t(3) << 18;
        const int block = rows <= kMostRows ? last - first : std::max(1, int(kBlockBytes / group_bytes()));
        auto each = [&](int row, int count, int from, int vectors, const Floats* sums) {
            for (int r = 0; r < count; ++r)
                for (int v = from; v < from + vectors; ++v, ++sums) {
                    Floats value = *sums;
                    if (scale) value *= load(scale + v * kLanes);
                    if (bias) value += load(bias + v * kLanes);
                    sink(row + r, v, value);
                }
        };
        const Taker taker{&each, [](void* context, int row, int count, int from, int vectors, const Floats* sums) {
                              (*static_cast<decltype(each)*>(context))(row, count, from, vectors, sums);
                          }};
        for (int start = first; start < last; start += block)
            for (int row = 0, count; row < rows; row += count) {
                const int left = (rows - row + kMostRows - 1) / kMostRows, stop = std::min(start + block, last);
                count = (rows - row + left - 1) / left;
                if (narrow()) tiles<Dots>(x, row, count, start, stop, taker);
                else if (dtype == Dtype::bf16) tiles<Widened<Bf16>>(x, row, count, start, stop, taker);
                else if (dtype == Dtype::fp32) tiles<Widened<Fp32>>(x, row, count, start, stop, taker);
                else if (dtype == Dtype::fp16) tiles<Widened<Fp16>>(x, row, count, start, stop, taker);
                else tiles<Widened<Int8>>(x, row, count, start, stop, taker);
            }
    }

  private:
    template <class Pairs>
    void tiles(const float* x, int row, int rows, int first, int last, const Taker& taker) const {
        product<Pairs>({weights, group_bytes(), x, inputs}, row, rows, first * kPerGroup, last * kPerGroup, taker);
    }
};

}  // namespace DYNEXIT_ISA
