// What a weight format says: how a block of a GGUF file goes into a strip, and how 32 inputs come out of it.
//
// A strip holds as many outputs as a vector has lanes, block after block: a block's words, then what else it holds. A
// word is four bytes of one output; so is every plane: a number of each output, side by side. Nothing but a format
// knows what its words and bytes mean.
#pragma once

#include "../inputs.h"

namespace DYNEXIT_ISA {

// 32 inputs of a vector of outputs. A weight is its byte, less the format's `kZero`, times a scale; with `kOffsets`
// an offset is added. Scale and offset are those of its half, where a format has scales for 16 inputs, else the first.
struct Block {
    Words bytes[kQuads];  // inputs 4 q to 4 q + 3
    Floats scales[2], offsets[2];
};

// Where an output's block goes.
struct Slot {
    char *words, *rest;
    int lane;
    void word(int index, uint32_t value) const { std::memcpy(words + (index * kLanes + lane) * 4, &value, 4); }
    void byte(int place, uint8_t value) const { rest[place * kLanes + lane] = char(value); }
    void half(int place, const uint8_t* from) const { std::memcpy(rest + place * kLanes + lane * 2, from, 2); }
};

// Where a vector of outputs' blocks are.
struct Place {
    const char *words, *rest;
    Words word(int index) const { return load_as<Words>(words + index * sizeof(Words)); }
    Words byte(int place) const { return from_bytes(rest + place * kLanes); }
    Floats half(int place) const { return from_halves(rest + place * kLanes); }
};

// Bits [shift, shift + bits) of the inputs that are `stride` apart, from input `first` of a block on: `count`
// of them in each byte of a word.
inline uint32_t gathered(const uint8_t* values, int first, int count, int stride, int bits, int shift = 0) {
    uint32_t word = 0;
    for (int byte = 0; byte < 4; ++byte)
        for (int i = 0; i < count; ++i) {
            const uint32_t value = values[first + byte + stride * i] >> shift & ((1u << bits) - 1);
            word |= value << (8 * byte + bits * i);
        }
    return word;
}

// Nibbles: four words, whose low halves are the first 16 inputs.
inline void put_nibbles(Slot to, int word, const uint8_t* values) {
    for (int i = 0; i < 4; ++i) to.word(word + i, gathered(values, 4 * i, 2, 16, 4));
}
inline void take_nibbles(Place at, int word, Words* bytes) {
    for (int i = 0; i < 4; ++i) {
        const Words both = at.word(word + i);
        bytes[i] = both & 0x0F0F0F0Fu;
        bytes[4 + i] = both >> 4 & 0x0F0F0F0Fu;
    }
}

// Two bits of each input from `shift` on: a word for each half.
inline void put_pairs(Slot to, int word, const uint8_t* values, int shift) {
    for (int half = 0; half < 2; ++half) to.word(word + half, gathered(values, 16 * half, 4, 4, 2, shift));
}
template <int kShift>
inline void take_pairs(Place at, int word, Words* bytes) {
    for (int half = 0; half < 2; ++half) {
        const Words four = at.word(word + half);
        for (int i = 0; i < 4; ++i) {
            const int left = kShift - 2 * i;
            bytes[4 * half + i] |= (left >= 0 ? four << left : four >> -left) & (0x03030303u << kShift);
        }
    }
}

// One bit of each input, the one at `shift`: a word.
inline void put_bits(Slot to, int word, const uint8_t* values, int shift) {
    to.word(word, gathered(values, 0, 8, 4, 1, shift));
}
template <int kShift>
inline void take_bits(Place at, int word, Words* bytes) {
    const Words eight = at.word(word);
    for (int i = 0; i < kQuads; ++i) {
        const int left = kShift - i;
        bytes[i] |= (left >= 0 ? eight << left : eight >> -left) & (0x01010101u << kShift);
    }
}

// Two numbers of 6 bits for each of 8 blocks: 8 bytes of low nibbles and 4 of what is above.
inline void put_sixes(Slot to, int place, int block, int one, int other) {
    to.byte(place + block, uint8_t((one & 15) | (other & 15) << 4));
    char& high = to.rest[(place + 8 + block / 2) * kLanes + to.lane];
    high = char(uint8_t(high) | uint8_t((one >> 4) | (other >> 4) << 2) << (block % 2 * 4));
}
inline void take_sixes(Place at, int place, int block, Floats* numbers) {
    const Words low = at.byte(place + block), high = at.byte(place + 8 + block / 2) >> (block % 2 * 4);
    numbers[0] = to_floats((low & 15) | (high & 3) << 4);
    numbers[1] = to_floats(low >> 4 | (high >> 2 & 3) << 4);
}

}  // namespace DYNEXIT_ISA
