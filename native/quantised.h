// Weights that stay quantised as a file has them, and their product with n rows.
//
// As many outputs as a vector has lanes are a strip. Two strips lie side by side, read in one stream: several streams,
// such as one of words and one of scales, would be read at half the speed where strips are short. For each 32 inputs
// the weights of both are unpacked once for all rows of a tile. A row's result is one sum over blocks in ascending
// order, whatever rows run beside it.
#pragma once

#include <memory>
#include <vector>

#include "dots.h"
#include "formats/affine.h"
#include "formats/k.h"
#include "formats/q4.h"
#include "formats/q5.h"
#include "formats/q8.h"
#include "matrix.h"

namespace DYNEXIT_ISA {

// Rows of inputs: `InputBlock`s, so many bytes apart.
struct Rows {
    const char* at;
    size_t stride;
    Rows from(int row) const { return {at + row * stride, stride}; }
};

// Strips side by side, block by block: one stream, whose words begin at a cache line.
constexpr int kAbreast = 2;

// Bytes of a block of all strips abreast.
template <class Format>
constexpr int kStep = kAbreast * (Format::kWords * int(sizeof(Words)) + Format::kRest * kLanes);

template <class Format>
Place after(Place at) {
    return {at.words + kStep<Format>, at.rest + kStep<Format>};
}

// Where strip `s` of those abreast is.
template <class Format>
Place beside(Place at, int s) {
    return {at.words + s * Format::kWords * sizeof(Words), at.rest + s * Format::kRest * kLanes};
}

// How far what `Dot` takes is above a weight.
template <class Format>
constexpr int kAbove = Format::kSigned ? (kBiased ? 128 : 0) : Format::kZero;

// Adds what kRows rows make of the blocks of all strips abreast. Each word meets all rows, since a row's own dot
// products wait for one another, and a row's four inputs all strips.
template <class Format, int kRows>
[[gnu::always_inline]] inline void add_blocks(const Block* blocks, Rows rows, Floats* sums) {
    constexpr int kCount = kQuads / Format::kScales, kDots = kRows * kAbreast;
    const auto of = [&](int i) -> const InputBlock& {
        return *reinterpret_cast<const InputBlock*>(rows.at + i / kAbreast * rows.stride);
    };
#pragma GCC unroll 2
    for (int part = 0; part < Format::kScales; ++part) {
        Dot<Format::kBits, Format::kSigned, kCount> dots[kDots];
#pragma GCC unroll 16
        for (int i = 0; i < kDots; ++i) {
            dots[i].sum = Ints{};
            if constexpr (kAbove<Format> != 0) dots[i].sum += of(i).less[zero_place(kAbove<Format>)];
        }
#pragma GCC unroll 8
        for (int q = part * kCount; q < (part + 1) * kCount; ++q)
#pragma GCC unroll 16
            for (int i = 0; i < kDots; ++i)
                dots[i].add(q % kCount, blocks[i % kAbreast].bytes[q], Words{} + load_as<uint32_t>(of(i).values + 4 * q));
#pragma GCC unroll 16
        for (int i = 0; i < kDots; ++i) {
            const Block& block = blocks[i % kAbreast];
            sums[i] += __builtin_convertvector(dots[i].sum, Floats) * (block.scales[part] * of(i).scale);
            if constexpr (Format::kOffsets)
                sums[i] += block.offsets[part] * (Format::kScales == 1 ? of(i).sum : of(i).halves[part]);
        }
    }
}

// Bytes between what is multiplied and what memory is asked for, far enough ahead for several rows and still a part of
// the first-level cache.
constexpr size_t kFarAhead = 8192;

// Sums of kRows rows over strips abreast: row r, strip s at r * kAbreast + s. Unrolled, or the sums of several rows
// would lie in memory.
template <class Format, int kRows>
void sum_strips(Place at, Rows rows, int inputs, Floats* results) {
    constexpr int kBlocks = Format::kInputs / kBlock, kPart = kStep<Format> / kBlocks, kSums = kRows * kAbreast;
    constexpr int kSome = kRows < kRowsAtOnce<Format::kBits> ? kRows : kRowsAtOnce<Format::kBits>, kLeft = kRows % kSome;
    Floats sums[kSums];
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sums[i] = Floats{};
    for (int i = 0; i < inputs; i += Format::kInputs, at = after<Format>(at)) {
        for (int b = 0; b < kBlocks; ++b, rows.at += sizeof(InputBlock)) {
            prefetch(at.words + b * kPart + kFarAhead, kPart);
            Block blocks[kAbreast];
#pragma GCC unroll 2
            for (int s = 0; s < kAbreast; ++s) {
                Format::take(beside<Format>(at, s), b, blocks[s]);
                if constexpr (Format::kSigned && kBiased)
                    for (Words& bytes : blocks[s].bytes) bytes ^= 0x80808080u;
            }
#pragma GCC unroll 8
            for (int r = 0; r + kSome <= kRows; r += kSome)
                add_blocks<Format, kSome>(blocks, rows.from(r), sums + r * kAbreast);
            if constexpr (kLeft != 0)
                add_blocks<Format, kLeft>(blocks, rows.from(kRows - kLeft), sums + (kRows - kLeft) * kAbreast);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) results[i] = sums[i];
}

// Takes over a row as a file has it.
template <class Format>
void put_output(const uint8_t* row, int inputs, Slot to) {
    for (int i = 0; i < inputs; i += Format::kInputs, row += Format::kBytes) {
        Format::put(row, to);
        to.words += kStep<Format>;
        to.rest += kStep<Format>;
    }
}

// The weights of one output of a strip.
template <class Format>
void take_output(Place at, int lane, int inputs, float* to) {
    for (int i = 0; i < inputs; i += Format::kInputs, at = after<Format>(at))
        for (int b = 0; b < Format::kInputs / kBlock; ++b) {
            Block block;
            Format::take(at, b, block);
            for (int k = 0; k < kBlock; ++k) {
                const char byte = reinterpret_cast<const char*>(&block.bytes[k / 4])[lane * 4 + k % 4];
                const float value = Format::kSigned ? float(int8_t(byte)) : float(uint8_t(byte) - Format::kZero);
                const int part = k * Format::kScales / kBlock;
                *to++ = value * block.scales[part][lane] + (Format::kOffsets ? block.offsets[part][lane] : 0.0f);
            }
        }
}

#if defined(__AVX512F__)
constexpr int kMostQuantisedRows = 8;
#else
constexpr int kMostQuantisedRows = 4;
#endif

// What a matrix knows of its groups' format.
struct Codec {
    using Sum = void (*)(Place, Rows, int inputs, Floats*);
    int type, inputs, bytes, words, rest;  // of a block: inputs, bytes in a file, words and other bytes in a strip
    void (*put)(const uint8_t* row, int inputs, Slot to);
    void (*take)(Place at, int lane, int inputs, float* to);
    Sum sums[kMostQuantisedRows];  // of 1, 2, ... rows

    size_t row_bytes(int count) const { return size_t(count / inputs) * bytes; }  // in a file
    // Of all strips abreast.
    size_t bytes_abreast(int count) const {
        const size_t line = 64, all = kAbreast * (words * sizeof(Words) + size_t(rest) * kLanes) * (count / inputs);
        return (all + line - 1) / line * line;
    }
};

template <class Format>
Codec codec_of() {
    Codec codec{Format::kType, Format::kInputs,     Format::kBytes,      Format::kWords,
                Format::kRest, put_output<Format>, take_output<Format>, {}};
    const auto fill = [&]<int... kRows>(std::integer_sequence<int, kRows...>) {
        ((codec.sums[kRows] = sum_strips<Format, kRows + 1>), ...);
    };
    fill(std::make_integer_sequence<int, kMostQuantisedRows>());
    return codec;
}

// The codec of a type, GGUF's or one of `formats/affine.h`; null where there is none.
inline const Codec* find_codec(int type) {
    static const Codec codecs[] = {codec_of<Q4_0>(), codec_of<Q4_1>(), codec_of<Q5_0>(),   codec_of<Q5_1>(),
                                   codec_of<Q8_0>(), codec_of<Q2_K>(), codec_of<Q3_K>(),   codec_of<Q4_K>(),
                                   codec_of<Q5_K>(), codec_of<Q6_K>(), codec_of<IQ4_NL>(), codec_of<IQ4_XS>(),
                                   codec_of<W4<32>>(), codec_of<W4<64>>(), codec_of<W4<128>>(),
                                   codec_of<W8<32>>(), codec_of<W8<64>>(), codec_of<W8<128>>()};
    for (const Codec& codec : codecs)
        if (codec.type == type) return &codec;
    return nullptr;
}

// Groups of 32 outputs, each in a format of its own.
class Quantised {
  public:
    // Rows as a file has them of the output in `slot`: null for padding.
    struct Output {
        const uint8_t* row;
        const Codec* codec;
    };

    // `output(slot)` for slots in ascending order; all of a group have one codec. `packed()` after every few
    // megabytes. Throws std::bad_alloc.
    template <class At, class Packed>
    void pack(int groups, int inputs, At&& output, Packed&& packed, Arena& arena, int threads) {
        constexpr size_t kFew = size_t(1) << 24;
        const int chunks = 2 * threads;  // large ones: threads that first write to one huge page would all clear it
        inputs_ = inputs;
        groups_.resize(groups);
        bytes_ = 0;
        for (int g = 0; g < groups; ++g) {
            groups_[g] = {output(g * kGroup).codec, bytes_};
            bytes_ += groups_[g].codec->bytes_abreast(inputs) * (kPerGroup / kAbreast);
        }
        memory_ = arena.take(bytes_);
        Pool::lead(threads, [&](Pool& pool) {
            for (int first = 0, last; first < groups; first = last, packed()) {
                last = within(first, groups, kFew);
                pool.each(chunks, [&](int, int chunk) {
                    const Share mine = share(last - first, chunk, chunks);
                    for (int slot = (first + mine.first) * kGroup; slot < (first + mine.last) * kGroup; ++slot)
                        if (const uint8_t* row = output(slot).row) put(slot, row);
                });
            }
        });
    }

    explicit operator bool() const { return !groups_.empty(); }
    size_t bytes() const { return bytes_; }  // that a product reads

    // The weights of an output.
    void take(int slot, float* to) const {
        groups_[slot / kGroup].codec->take(strip(slot / kLanes), slot % kLanes, inputs_, to);
    }

    // Rows of prepared inputs, spaced, times groups [first, last), as `Matrix::times`: `take(row, vector, sums)`.
    template <class Take>
    void times(const float* x, int rows, int first, int last, Take&& take) const {
        constexpr size_t kBlockBytes = size_t(3) << 18;  // that stay in the second-level cache for all rows
        const size_t stride = spaced(inputs_) * sizeof(float);
        for (int start = first, stop; start < last; start = stop) {
            stop = rows <= kMostQuantisedRows ? last : within(start, last, kBlockBytes);
            for (int row = 0, count; row < rows; row += count) {
                const int left = (rows - row + kMostQuantisedRows - 1) / kMostQuantisedRows;
                count = (rows - row + left - 1) / left;
                const Rows some{reinterpret_cast<const char*>(x) + row * stride, stride};
                for (int v = start * kPerGroup; v < stop * kPerGroup; v += kAbreast) {
                    Floats sums[kMostQuantisedRows * kAbreast];
                    groups_[v / kPerGroup].codec->sums[count - 1](strip(v), some, inputs_, sums);
                    for (int i = 0; i < count * kAbreast; ++i) take(row + i / kAbreast, v + i % kAbreast, sums[i]);
                }
            }
        }
    }

  private:
    struct Group {
        const Codec* codec = nullptr;
        size_t start = 0;
    };

    // The end of as many groups from `start` on as are within so many bytes: one at least.
    int within(int start, int last, size_t bytes) const {
        int stop = start + 1;
        while (stop < last && groups_[stop].start - groups_[start].start < bytes) ++stop;
        return stop;
    }

    Place strip(int vector) const {
        const Group& group = groups_[vector / kPerGroup];
        const Codec& codec = *group.codec;
        const size_t bytes = codec.words * sizeof(Words), rest = size_t(codec.rest) * kLanes;
        const int inside = vector % kPerGroup, s = inside % kAbreast;
        const char* at = memory_ + group.start + inside / kAbreast * codec.bytes_abreast(inputs_);
        return {at + s * bytes, at + kAbreast * bytes + s * rest};
    }

    void put(int slot, const uint8_t* row) {
        const Codec& codec = *groups_[slot / kGroup].codec;
        const Place at = strip(slot / kLanes);
        codec.put(row, inputs_, {const_cast<char*>(at.words), const_cast<char*>(at.rest), slot % kLanes});
    }

    int inputs_ = 0;
    size_t bytes_ = 0;
    std::vector<Group> groups_;
    char* memory_ = nullptr;
};

}  // namespace DYNEXIT_ISA
