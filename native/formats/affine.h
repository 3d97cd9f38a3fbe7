// Affine quantisation, 4 or 8 bits an input: what GPTQ, AWQ and compressed-tensors hold.
//
// A weight is (value - zero point) * scale. The scale is fp16 and the zero point a byte, so that the product is
// exact in fp32. Blocks of a larger group repeat both. A block is its scale, its zero point and its values: nibbles
// as in Q4_1, or bytes, which like their zero point are stored 128 less, as signed ones.
#pragma once

#include "format.h"

namespace DYNEXIT_ISA {

template <int kWidth, int kCount>
struct Affine {
    static constexpr int kType = 1000 * kWidth + kCount, kInputs = kCount, kBytes = 3 + kCount * kWidth / 8;
    static constexpr int kWords = kCount * kWidth / 32, kRest = 3, kBits = kWidth, kScales = 1, kZero = 0;
    static constexpr bool kOffsets = true;
    static void put(const uint8_t* from, Slot to) {
        to.half(0, from);
        to.byte(2, from[2]);
        for (int i = 0; i < kWords; ++i) to.word(i, load_as<uint32_t>(from + 3 + 4 * i));
    }
};

template <int kCount>
struct W4 : Affine<4, kCount> {
    static constexpr bool kSigned = false;
    static void take(Place at, int block, Block& to) {
        take_nibbles(at, 4 * block, to.bytes);
        to.scales[0] = at.half(0);
        to.offsets[0] = Floats{} - to.scales[0] * to_floats(at.byte(2));
    }
};

template <int kCount>
struct W8 : Affine<8, kCount> {
    static constexpr bool kSigned = true;
    static void take(Place at, int block, Block& to) {
        for (int i = 0; i < kQuads; ++i) to.bytes[i] = at.word(kQuads * block + i);
        to.scales[0] = at.half(0);
        to.offsets[0] = Floats{} - to.scales[0] * widened(at.rest + 2 * kLanes);
    }
};

}  // namespace DYNEXIT_ISA
