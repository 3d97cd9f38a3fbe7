// Four bits an input, in blocks of 32: Q4_0, around 8; Q4_1, from a minimum; IQ4_NL, out of a table.
#pragma once

#include "format.h"

namespace DYNEXIT_ISA {

// The 16 values of IQ4_NL and IQ4_XS.
alignas(16) constexpr int8_t kTable[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct Nibbles {
    static constexpr int kInputs = 32, kWords = 4, kBits = 4, kScales = 1, kZero = 0;
    static constexpr bool kSigned = false, kOffsets = false;
    static void put_words(const uint8_t* from, Slot to) {
        for (int i = 0; i < 4; ++i) to.word(i, load_as<uint32_t>(from + 4 * i));
    }
};

struct Q4_0 : Nibbles {
    static constexpr int kType = 2, kBytes = 18, kRest = 2, kZero = 8;
    static void put(const uint8_t* from, Slot to) {
        to.half(0, from);
        put_words(from + 2, to);
    }
    static void take(Place at, int, Block& to) {
        take_nibbles(at, 0, to.bytes);
        to.scales[0] = at.half(0);
    }
};

struct Q4_1 : Nibbles {
    static constexpr int kType = 3, kBytes = 20, kRest = 4;
    static constexpr bool kOffsets = true;
    static void put(const uint8_t* from, Slot to) {
        to.half(0, from);
        to.half(2, from + 2);
        put_words(from + 4, to);
    }
    static void take(Place at, int, Block& to) {
        take_nibbles(at, 0, to.bytes);
        to.scales[0] = at.half(0);
        to.offsets[0] = at.half(2);
    }
};

struct IQ4_NL : Nibbles {
    static constexpr int kType = 20, kBytes = 18, kRest = 2, kBits = 8;
    static constexpr bool kSigned = true;
    static void put(const uint8_t* from, Slot to) { Q4_0::put(from, to); }
    static void take(Place at, int, Block& to) {
        take_nibbles(at, 0, to.bytes);
        for (Words& bytes : to.bytes) bytes = looked_up(kTable, bytes);
        to.scales[0] = at.half(0);
    }
};

}  // namespace DYNEXIT_ISA
