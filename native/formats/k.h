// Blocks of 256 inputs, whose 8 blocks of 32 have scales of a few bits: Q2_K to Q6_K, and IQ4_XS.
#pragma once

#include "format.h"
#include "q4.h"

namespace DYNEXIT_ISA {

struct Super {
    static constexpr int kInputs = 256, kBlocks = kInputs / kBlock, kZero = 0;
    static constexpr bool kSigned = false, kOffsets = true;
};

// Q2_K and Q3_K keep two bits of four blocks in a byte.
inline void take_crumbs(const uint8_t* from, uint8_t* values) {
    for (int i = 0; i < Super::kInputs; ++i) values[i] = from[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
}

struct Q2_K : Super {
    static constexpr int kType = 10, kBytes = 84, kWords = 2 * kBlocks, kRest = 20, kBits = 2, kScales = 2;
    static void put(const uint8_t* from, Slot to) {
        uint8_t values[kInputs];
        take_crumbs(from + 16, values);
        to.half(0, from + 80);
        to.half(2, from + 82);
        for (int i = 0; i < 16; ++i) to.byte(4 + i, from[i]);
        for (int b = 0; b < kBlocks; ++b) put_pairs(to, 2 * b, values + kBlock * b, 0);
    }
    static void take(Place at, int block, Block& to) {
        for (Words& bytes : to.bytes) bytes = Words{};
        take_pairs<0>(at, 2 * block, to.bytes);
        const Floats scale = at.half(0), minimum = at.half(2);
        for (int half = 0; half < 2; ++half) {
            const Words both = at.byte(4 + 2 * block + half);
            to.scales[half] = scale * to_floats(both & 15);
            to.offsets[half] = Floats{} - minimum * to_floats(both >> 4);
        }
    }
};

struct Q3_K : Super {
    static constexpr int kType = 11, kBytes = 110, kWords = 3 * kBlocks, kRest = 14, kBits = 3, kScales = 2;
    static void put(const uint8_t* from, Slot to) {
        uint8_t values[kInputs];
        take_crumbs(from + 32, values);
        for (int i = 0; i < kInputs; ++i) values[i] |= (from[i % 32] >> i / 32 & 1) << 2;
        to.half(0, from + 108);
        const uint8_t* scales = from + 96;
        const auto scale = [&](int i) {
            return (scales[i % 8] >> i / 8 * 4 & 15) | (scales[8 + i % 4] >> i / 4 * 2 & 3) << 4;
        };
        for (int b = 0; b < kBlocks; ++b) {
            put_pairs(to, 3 * b, values + kBlock * b, 0);
            put_bits(to, 3 * b + 2, values + kBlock * b, 2);
            put_sixes(to, 2, b, scale(2 * b), scale(2 * b + 1));
        }
    }
    static void take(Place at, int block, Block& to) {
        for (Words& bytes : to.bytes) bytes = Words{};
        take_pairs<0>(at, 3 * block, to.bytes);
        take_bits<2>(at, 3 * block + 2, to.bytes);
        Floats numbers[2];
        take_sixes(at, 2, block, numbers);
        for (int half = 0; half < 2; ++half) {
            to.scales[half] = at.half(0) * (numbers[half] - 32.0f);
            to.offsets[half] = to.scales[half] * -4.0f;
        }
    }
};

// Q4_K and Q5_K: a scale and a minimum of 6 bits for each block.
struct Sixes : Super {
    static constexpr int kScales = 1, kRest = 16;
    static void put_scales(const uint8_t* from, Slot to) {
        to.half(0, from);
        to.half(2, from + 2);
        const uint8_t* packed = from + 4;
        for (int b = 0; b < kBlocks; ++b) {
            const bool late = b >= 4;
            const int scale = late ? (packed[b + 4] & 15) | packed[b - 4] >> 6 << 4 : packed[b] & 63;
            const int minimum = late ? packed[b + 4] >> 4 | packed[b] >> 6 << 4 : packed[b + 4] & 63;
            put_sixes(to, 4, b, scale, minimum);
        }
    }
    static void take_scales(Place at, int block, Block& to) {
        Floats numbers[2];
        take_sixes(at, 4, block, numbers);
        to.scales[0] = at.half(0) * numbers[0];
        to.offsets[0] = Floats{} - at.half(2) * numbers[1];
    }
    static void take_values(const uint8_t* low, uint8_t* values) {
        for (int i = 0; i < kInputs; ++i) values[i] = low[i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15;
    }
};

struct Q4_K : Sixes {
    static constexpr int kType = 12, kBytes = 144, kWords = 4 * kBlocks, kBits = 4;
    static void put(const uint8_t* from, Slot to) {
        uint8_t values[kInputs];
        take_values(from + 16, values);
        put_scales(from, to);
        for (int b = 0; b < kBlocks; ++b) put_nibbles(to, 4 * b, values + kBlock * b);
    }
    static void take(Place at, int block, Block& to) {
        take_nibbles(at, 4 * block, to.bytes);
        take_scales(at, block, to);
    }
};

struct Q5_K : Sixes {
    static constexpr int kType = 13, kBytes = 176, kWords = 5 * kBlocks, kBits = 5;
    static void put(const uint8_t* from, Slot to) {
        uint8_t values[kInputs];
        take_values(from + 48, values);
        for (int i = 0; i < kInputs; ++i) values[i] |= (from[16 + i % 32] >> i / 32 & 1) << 4;
        put_scales(from, to);
        for (int b = 0; b < kBlocks; ++b) {
            put_nibbles(to, 5 * b, values + kBlock * b);
            put_bits(to, 5 * b + 4, values + kBlock * b, 4);
        }
    }
    static void take(Place at, int block, Block& to) {
        take_nibbles(at, 5 * block, to.bytes);
        take_bits<4>(at, 5 * block + 4, to.bytes);
        take_scales(at, block, to);
    }
};

struct Q6_K : Super {
    static constexpr int kType = 14, kBytes = 210, kWords = 6 * kBlocks, kRest = 18, kBits = 6, kScales = 2;
    static void put(const uint8_t* from, Slot to) {
        uint8_t values[kInputs];
        for (int i = 0; i < kInputs; ++i) {
            const int half = i / 128, block = i / 32 % 4, at = i % 32;
            const int low = from[half * 64 + block % 2 * 32 + at] >> block / 2 * 4 & 15;
            values[i] = uint8_t(low | (from[128 + half * 32 + at] >> block * 2 & 3) << 4);
        }
        to.half(0, from + 208);
        for (int i = 0; i < 16; ++i) to.byte(2 + i, from[192 + i]);
        for (int b = 0; b < kBlocks; ++b) {
            put_nibbles(to, 6 * b, values + kBlock * b);
            put_pairs(to, 6 * b + 4, values + kBlock * b, 4);
        }
    }
    static void take(Place at, int block, Block& to) {
        take_nibbles(at, 6 * block, to.bytes);
        take_pairs<4>(at, 6 * block + 4, to.bytes);
        for (int half = 0; half < 2; ++half) {
            to.scales[half] = at.half(0) * widened(at.rest + (2 + 2 * block + half) * kLanes);
            to.offsets[half] = to.scales[half] * -32.0f;
        }
    }
};

struct IQ4_XS : Super {
    static constexpr int kType = 23, kBytes = 136, kWords = 4 * kBlocks, kRest = 8, kBits = 8, kScales = 1;
    static constexpr bool kSigned = true, kOffsets = false;
    static void put(const uint8_t* from, Slot to) {
        to.half(0, from);
        for (int i = 0; i < 6; ++i) to.byte(2 + i, from[2 + i]);  // two bits of each scale, then four
        for (int i = 0; i < kWords; ++i) to.word(i, load_as<uint32_t>(from + 8 + 4 * i));
    }
    static void take(Place at, int block, Block& to) {
        take_nibbles(at, 4 * block, to.bytes);
        for (Words& bytes : to.bytes) bytes = looked_up(kTable, bytes);
        const Words high = at.byte(2 + block / 4) >> (block % 4 * 2) & 3;
        const Words low = at.byte(4 + block / 2) >> (block % 2 * 4) & 15;
        to.scales[0] = at.half(0) * (to_floats(low | high << 4) - 32.0f);
    }
};

}  // namespace DYNEXIT_ISA
