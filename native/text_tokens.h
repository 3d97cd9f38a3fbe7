// Rows of the head for tokens of one text, which drafts read beside those for all texts.
#pragma once

#include "model.h"

namespace DYNEXIT_ISA {

struct TextTokens {
    const int most;
    std::vector<int64_t> tokens;
    PackedMatrix rows;

    // Room for so many of a model's tokens: memory is taken as it is filled. Throws std::bad_alloc.
    TextTokens(const Model& m, int room)
        : most(room), memory_(rows.make_room(room, m.head.depth, m.head.quantised ? Dtype::int8 : m.head.dtype)), row_(m.head.depth) {
        rows.weights = memory_.at();
        rows.outputs = 0;
    }

    // Takes over rows of the model's head from a place on, past the last one or in place of others.
    void put(const Model& m, int place, const int64_t* given, int count) {
        tokens.resize(std::max(tokens.size(), size_t(place) + count));
        rows.outputs = int(tokens.size());
        for (int i = 0; i < count; ++i) {
            tokens[place + i] = given[i];
            m.head.take(int(given[i]), row_.data());
            rows.put_row(place + i, rows.inputs, [&](int k) { return row_[k]; });
        }
    }

  private:
    Memory memory_;
    std::vector<float> row_;
};

}  // namespace DYNEXIT_ISA
