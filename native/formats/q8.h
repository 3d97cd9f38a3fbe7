// Q8_0: signed bytes in blocks of 32.
#pragma once

#include "format.h"

namespace DYNEXIT_ISA {

struct Q8_0 {
    static constexpr int kType = 8, kInputs = 32, kBytes = 34, kWords = 8, kRest = 2, kBits = 8, kScales = 1, kZero = 0;
    static constexpr bool kSigned = true, kOffsets = false;
    static void put(const uint8_t* from, Slot to) {
        to.half(0, from);
        for (int i = 0; i < kQuads; ++i) to.word(i, load_as<uint32_t>(from + 2 + 4 * i));
    }
    static void take(Place at, int, Block& to) {
        for (int i = 0; i < kQuads; ++i) to.bytes[i] = at.word(i);
        to.scales[0] = at.half(0);
    }
};

}  // namespace DYNEXIT_ISA
