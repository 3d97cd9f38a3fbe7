// Five bits an input, in blocks of 32: Q5_0, around 16, and Q5_1, from a minimum.
#pragma once

#include "format.h"

namespace DYNEXIT_ISA {

struct Fives {
    static constexpr int kInputs = 32, kWords = 5, kBits = 5, kScales = 1, kZero = 0;
    static constexpr bool kSigned = false, kOffsets = false;
    static void put_words(const uint8_t* high, const uint8_t* low, Slot to) {
        uint8_t bits[kBlock];
        for (int i = 0; i < kBlock; ++i) bits[i] = high[i / 8] >> i % 8 & 1;
        for (int i = 0; i < 4; ++i) to.word(i, load_as<uint32_t>(low + 4 * i));
        put_bits(to, 4, bits, 0);
    }
    static void take_words(Place at, Words* bytes) {
        take_nibbles(at, 0, bytes);
        take_bits<4>(at, 4, bytes);
    }
};

struct Q5_0 : Fives {
    static constexpr int kType = 6, kBytes = 22, kRest = 2, kZero = 16;
    static void put(const uint8_t* from, Slot to) {
        to.half(0, from);
        put_words(from + 2, from + 6, to);
    }
    static void take(Place at, int, Block& to) {
        take_words(at, to.bytes);
        to.scales[0] = at.half(0);
    }
};

struct Q5_1 : Fives {
    static constexpr int kType = 7, kBytes = 24, kRest = 4;
    static constexpr bool kOffsets = true;
    static void put(const uint8_t* from, Slot to) {
        to.half(0, from);
        to.half(2, from + 2);
        put_words(from + 4, from + 8, to);
    }
    static void take(Place at, int, Block& to) {
        take_words(at, to.bytes);
        to.scales[0] = at.half(0);
        to.offsets[0] = at.half(2);
    }
};

}  // namespace DYNEXIT_ISA
