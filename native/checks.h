// What comes from outside is looked at before anything is touched: sizes, ids, layers, positions, slots.
#pragma once

#include <stdexcept>
#include <string>

#include "cache.h"
#include "unembedding.h"

namespace DYNEXIT_ISA {

constexpr int64_t kMost = int64_t(1) << 30;  // of any size, and of a sequence's positions
constexpr int kMostLayers = 1 << 16, kMostNodes = 1 << 12;

inline std::string joined(const char* text) { return text; }
inline std::string joined(int64_t number) { return std::to_string(number); }

// Throws std::invalid_argument with a sentence made of `parts`.
template <class... Parts>
void require(bool fine, const Parts&... parts) {
    if (!fine) throw std::invalid_argument((joined(parts) + ...));
}

inline void check_shape(const dx_shape& s, int threads) {
    const auto sized = [](int64_t size) { return size >= 1 && size <= kMost; };
    for (const int32_t size : {s.hidden, s.intermediate, s.heads, s.kv_heads, s.head_dim})
        require(sized(size), "a model cannot have a size of ", size, ".");
    require(s.layers >= 1 && s.layers <= kMostLayers, "a model cannot have ", s.layers, " layers.");
    require(sized((int64_t(s.heads) + 2 * int64_t(s.kv_heads)) * s.head_dim) && sized(2 * int64_t(s.intermediate)),
            "a model's sizes are too large together.");
    require(s.heads % s.kv_heads == 0, s.heads, " heads cannot share ", s.kv_heads, " key heads.");
    require((s.hidden | s.intermediate | s.head_dim) % 2 == 0, "a model's sizes must be even.");
    require(s.weights >= DX_BF16 && s.weights <= DX_AS_GIVEN && (s.cached == DX_BF16 || s.cached == DX_FP32),
            "a format of weights or caches is not known.");
    const int most = Pool::most_threads();
    require(threads >= 1 && threads <= most, threads, " threads are too many or too few: use 1 to ", most, ".");
}

inline void check_tensor(const void* numbers, int from) {
    require(numbers && (from == DX_BF16 || from == DX_FP32 || from == DX_FP16), "a tensor is not bf16, fp16 or fp32.");
}

inline void check_reading(const dx_reading& how) {
    const int32_t streams = how.streams;
    require(how.memory && how.bytes >= 0 && how.ahead >= 0, "memory to read is missing.");
    require(streams == 1 || streams == 2 || streams == 4 || streams == 8, "memory is read at 1, 2, 4 or 8 places, not ",
            streams, ".");
}

inline void check_layer(const Model& m, int layer) {
    require(layer >= 0 && layer < m.shape.layers, "layer ", layer, " is not one of ", m.shape.layers, ".");
}

inline void check_matrix(const Model& m, int which, int outputs, int inputs) {
    const dx_shape& s = m.shape;
    const int wanted[][2] = {{m.projected(), s.hidden},
                             {s.hidden, m.attended()},
                             {2 * s.intermediate, s.hidden},
                             {s.hidden, s.intermediate},
                             {outputs, s.hidden},
                             {outputs, s.hidden}};
    require(which >= DX_QKV && which <= DX_EMBEDDING, "matrix ", which, " is not known.");
    require(outputs == wanted[which][0] && inputs == wanted[which][1] && outputs >= 1 && outputs <= kMost,
            "matrix ", which, " has ", outputs, " outputs of ", inputs, " inputs, not ", wanted[which][0], " of ",
            wanted[which][1], ".");
}

// Parts of a matrix in blocks, whose groups of outputs have one type each.
inline void check_blocks(const Model& m, int which, const dx_blocks* parts, int count, int inputs) {
    int64_t outputs = 0;
    for (int p = 0; p < count; ++p) {
        const Codec* codec = find_codec(parts[p].type);
        require(codec, "blocks of type ", parts[p].type, " have no kernel.");
        require(parts[p].rows && parts[p].outputs >= 1 && inputs % codec->inputs == 0,
                "blocks of type ", parts[p].type, " do not fill rows of ", inputs, " inputs.");
        require(outputs % kGroup == 0 || parts[p].type == parts[p - 1].type, "parts of several types share a group.");
        outputs += parts[p].outputs;
    }
    require(outputs <= kMost, "a matrix cannot have ", outputs, " outputs.");
    check_matrix(m, which, int(outputs), inputs);
}

inline void check_vector(const Model& m, int which, const float* values, int count) {
    require(which >= DX_ATTENTION_NORM && which <= DX_FINAL_NORM, "vector ", which, " is not known.");
    const bool of_head = which == DX_QUERY_NORM || which == DX_KEY_NORM;
    const int wanted = of_head ? m.shape.head_dim : m.shape.hidden;
    require(values && count == wanted, "vector ", which, " has ", count, " numbers, not ", wanted, ".");
}

// Layers [first, last) exist and hold weights.
inline void check_layers(const Model& m, int first, int last) {
    require(first >= 0 && first <= last && last <= m.shape.layers, "layers ", first, " to ", last,
            " are not among the ", m.shape.layers, " of this model.");
    for (int l = first; l < last; ++l)
        require(m.layers[l].filled(), "layer ", l + 1, " holds no weights here.");
}

inline void check_head(const Model& m, int rows, int vocabulary_size) {
    require(rows >= 0 && rows <= kMost, rows, " rows cannot be run.");
    require(m.head.filled() && !m.final_norm.empty(), "this model has no head.");
    require(vocabulary_size >= 1 && vocabulary_size <= m.head.outputs, vocabulary_size, " tokens cannot be read of a head of ",
            m.head.outputs, ".");
}

// What `convert` takes of `from`.
inline void check_copy(const Model& to, const Model& from, int layer, int tokens) {
    const auto sizes = [](const dx_shape& s) {
        return std::tie(s.hidden, s.intermediate, s.layers, s.heads, s.kv_heads, s.head_dim, s.cached);
    };
    require(sizes(to.shape) == sizes(from.shape) && &to != &from, "a copy and its original have other sizes.");
    if (layer < 0) return check_head(from, 1, std::min(tokens, from.head.outputs));
    check_layer(from, layer);
    check_layers(from, layer, layer + 1);
}

inline void check_tokens(const Model& m, const int64_t* tokens, int count) {
    const int vocabulary = m.vocabulary();
    for (int i = 0; i < count; ++i)
        require(tokens[i] >= 0 && tokens[i] < vocabulary, "token id ", tokens[i], " is outside the vocabulary of ",
                vocabulary, " tokens.");
}

inline void check_text_tokens(const Model& m, const void* own) {
    require(own && static_cast<const TextTokens*>(own)->rows.inputs == m.shape.hidden, "tokens of a text are of another model.");
}

// A block of a cache that has so many.
inline void check_block(int block, int blocks) {
    require(block >= 0 && block < blocks, "block ", block, " of a cache is not among ", blocks, ".");
}

// Positions [start, stop), and slots up to `end`.
inline void check_place(const Model& m, const void* cache, int64_t start, int64_t stop, int64_t end,
                        const dx_angles& angles) {
    require(cache && static_cast<const Cache*>(cache)->fits(m.shape), "a cache is of another model.");
    require(start >= 0 && stop >= start && stop <= angles.positions && end <= kMost, "positions ", start, " to ", stop,
            " are not among ", angles.positions, ".");
}

inline void check_window(int sinks, int recent, bool chain) {
    require(chain || recent == 0, "a window is for chains alone.");
    require(recent == 0 ? sinks == 0 : sinks >= 1 && recent >= 1 && sinks <= kMost && recent <= kMost,
            "a window needs a first and a recent position, not ", sinks, " and ", recent, ".");
}

inline void check_span(const Model& m, const dx_span& s, const dx_angles& angles) {
    check_window(s.sinks, s.recent, !s.parents);
    const int64_t rows = int64_t(s.first) + s.length;
    require(s.first >= 0 && s.length >= 0 && rows <= (s.parents ? kMostNodes : kMost), "rows ", s.first, " to ", rows, " are not in a round.");
    int64_t stop = int64_t(s.start) + rows;
    if (s.parents) {
        stop = s.start + 1;
        std::vector<int64_t> after(rows, stop);
        for (int64_t i = 1; i < rows; ++i) {
            const int32_t parent = s.parents[i - 1];
            require(parent >= 0 && parent < i, "row ", i, " cannot follow row ", parent, ".");
            stop = std::max(stop, after[i] = after[parent] + 1);
        }
        require(s.slot >= stop, "branches cannot be kept from slot ", s.slot, " on.");
    }
    check_place(m, s.cache, s.start, stop, s.parents ? s.slot + rows : stop, angles);
}

// Returns how many rows there are.
inline int64_t check_spans(const Model& m, const dx_span* spans, int count, const dx_angles& angles) {
    require(count >= 1, "a pass has no rows.");
    int64_t rows = 0;
    for (int i = 0; i < count; ++i) {
        check_span(m, spans[i], angles);
        rows += spans[i].length;
    }
    require(rows <= kMost / m.shape.kv_heads, rows, " rows are too many for one pass.");
    return rows;
}

inline void check_drafting(const Model& m, const dx_drafting& plan, const void* cache, int start,
                           const dx_angles& angles) {
    require(plan.exit_layer >= 1, "a draft needs an exit layer.");
    check_window(plan.sinks, plan.recent, plan.ranks == 1);
    check_layers(m, 0, plan.exit_layer);
    check_head(m, 1, plan.limit);
    if (plan.text_tokens) check_text_tokens(m, plan.text_tokens);
    require(plan.nodes >= 0 && plan.nodes <= kMostNodes && plan.depth >= 0 && plan.ranks >= 1 && plan.ranks <= kMostRanks && plan.bins >= 0 &&
                plan.num_eos >= 0 && plan.num_row_floors >= 0 && plan.num_level_floors >= 0,
            "a draft's numbers are out of range.");
    const int64_t stop = int64_t(start) + 1 + std::min(plan.nodes, plan.depth);
    check_place(m, cache, start, stop, int64_t(start) + 2 * (int64_t(plan.nodes) + 1), angles);
    require((plan.odds || !plan.bins) && (plan.bins || plan.ranks == 1) && (plan.row_floors || !plan.num_row_floors) &&
                (plan.level_floors || !plan.num_level_floors) && (plan.eos || !plan.num_eos),
            "a draft's odds, floors or ends are missing.");
    require(!plan.skips || (plan.whole >= 0 && plan.whole <= plan.exit_layer && plan.ranks == 1 && plan.bins == 0),
            "a draft that leaves out sublayers must be a chain, and begin with whole layers.");
}

}  // namespace DYNEXIT_ISA
