// A model's packed weights.
#pragma once

#include <functional>
#include <vector>

#include "api.h"
#include "matrix.h"
#include "memory.h"
#include "pool.h"
#include "quantised.h"

namespace DYNEXIT_ISA {

// A number of a tensor as it lies in a checkpoint.
inline float element(const void* numbers, Dtype dtype, size_t index) {
    if (dtype == Dtype::fp32) return static_cast<const float*>(numbers)[index];
    const uint16_t half = static_cast<const uint16_t*>(numbers)[index];
    return dtype == Dtype::bf16 ? from_bf16(half) : from_fp16(half);
}

// A matrix that owns its weights: numbers of one dtype, or blocks as a file has them.
struct PackedMatrix : Matrix {
    Quantised quantised;
    std::vector<float> biases, scales;

    bool filled() const { return weights || quantised; }
    size_t held() const { return quantised ? quantised.bytes() : bytes(); }

    // Makes a row of fp32 inputs what products read, where that is neither fp32 nor bf16.
    void prepare(float* row) const {
        if (quantised) quantise_inputs(row, inputs);
    }

    // As `Matrix::times`, of prepared inputs.
    template <class Sink>
    void times(const float* x, int rows, int first, int last, Sink&& sink) const {
        if (quantised) return times_blocks(x, rows, first, last, sink);
        Matrix::times(x, rows, first, last, std::forward<Sink>(sink));
    }

    // Apart, so that the other product is compiled as if there were no blocks.
    template <class Sink>
    [[gnu::noinline]] void times_blocks(const float* x, int rows, int first, int last, Sink& sink) const {
        quantised.times(x, rows, first, last, [&](int row, int vector, Floats value) {
            if (bias) value += load(bias + vector * kLanes);
            sink(row, vector, value);
        });
    }

    // The weights of the output in `slot`.
    void take(int slot, float* to) const {
        if (quantised) return quantised.take(slot, to);
        for (int i = 0; i < inputs; ++i) to[i] = get(slot, i);
    }

    // Packs rows [count, width] as they lie in a checkpoint; inputs beyond them, up to `room`, have no
    // weight. Of gate and up, stacked, groups alternate, so that one thread has both halves of what it
    // multiplies. Throws std::bad_alloc.
    void pack(const void* rows, int count, int width, int room, Dtype from, Dtype to, const float* bias,
              bool stacked, Arena& arena, int threads) {
        const int half = (count / 2 + kGroup - 1) / kGroup * kGroup;
        outputs = stacked ? 2 * half : count;
        inputs = depth = room;
        dtype = to;
        weights = arena.take(bytes());
        biases.assign(bias ? padded() : 0, 0.0f);
        scales.assign(to == Dtype::int8 ? padded() : 0, 1.0f);
        this->scale = scales.empty() ? nullptr : scales.data();
        this->bias = bias ? biases.data() : nullptr;
        Pool::lead(threads, [&](Pool& pool) {
            pool.each(groups(), [&](int, int group) {
                for (int slot = group * kGroup; slot < (group + 1) * kGroup; ++slot) {
                    const int output = stacked ? unstacked(slot, count / 2) : slot;
                    if (output < 0 || output >= count) continue;
                    const size_t start = size_t(output) * width;
                    put_row(slot, width, [&](int i) { return element(rows, from, start + i); });
                    if (bias) biases[slot] = bias[output];
                }
            });
        });
    }

    // Takes over blocks as they are; `stacked` as above. Throws std::bad_alloc.
    void pack_blocks(const dx_blocks* parts, int count, int width, const float* bias, bool stacked, Arena& arena,
                     int threads) {
        int all = 0;
        for (int p = 0; p < count; ++p) all += parts[p].outputs;
        const int half = (all / 2 + kGroup - 1) / kGroup * kGroup;
        outputs = stacked ? 2 * half : all;
        inputs = depth = width;
        dtype = Dtype::fp32;
        const auto output_of = [&](int slot) { return stacked ? unstacked(slot, all / 2) : slot; };
        const auto find = [&](int slot) {
            int output = output_of(slot), p = 0;
            if (output < 0 || output >= all) return Quantised::Output{nullptr, nullptr};
            for (; output >= parts[p].outputs; ++p) output -= parts[p].outputs;
            const Codec* codec = find_codec(parts[p].type);
            return Quantised::Output{static_cast<const uint8_t*>(parts[p].rows) + output * codec->row_bytes(width), codec};
        };
        const auto packed = [&] {
            for (int p = 0; p < count; ++p)
                if (parts[p].mapped) let_go(parts[p].rows, parts[p].outputs * find_codec(parts[p].type)->row_bytes(width));
        };
        quantised.pack(groups(), width, find, packed, arena, threads);
        biases.assign(bias ? padded() : 0, 0.0f);
        this->bias = bias ? biases.data() : nullptr;
        for (int slot = 0; bias && slot < padded(); ++slot)
            if (const int output = output_of(slot); output >= 0 && output < all) biases[slot] = bias[output];
    }

    // Takes over the first `count` outputs of a packed matrix, in another form. Throws std::bad_alloc.
    void convert(const PackedMatrix& from, int count, Dtype to, Arena& arena, int threads) {
        copy(from, std::min(count, from.outputs), to, arena, threads, [](int slot) { return slot; });
        if (from.bias) biases.assign(from.bias, from.bias + padded());
        bias = biases.empty() ? nullptr : biases.data();
    }

    // Takes over the outputs named, of a matrix without biases. Throws std::bad_alloc.
    void gather(const PackedMatrix& from, const std::vector<int64_t>& named, Dtype to, Arena& arena, int threads) {
        const auto last = int(named.size()) - 1;
        copy(from, last + 1, to, arena, threads, [&](int slot) { return int(named[std::min(slot, last)]); });
    }

    // Becomes one of so many outputs, all of them empty, in `weights` of as many bytes as it returns.
    size_t make_room(int count, int width, Dtype to) {
        outputs = count;
        inputs = depth = width;
        dtype = to;
        scales.assign(to == Dtype::int8 ? padded() : 0, 1.0f);
        scale = scales.empty() ? nullptr : scales.data();
        return bytes();
    }

    // An output's weights, `at(i)` of input i.
    template <class At>
    void put_row(int slot, int width, At&& at) {
        if (dtype == Dtype::int8) {
            float largest = 0.0f;
            for (int i = 0; i < width; ++i) largest = std::max(largest, std::fabs(at(i)));
            scales[slot] = largest > 0.0f ? largest / 127.0f : 1.0f;
        }
        for (int i = 0; i < width; ++i) put(slot, i, at(i));
    }

  private:
    // Takes over output `slot_of(i)` as output i, padding included.
    template <class SlotOf>
    void copy(const PackedMatrix& from, int count, Dtype to, Arena& arena, int threads, SlotOf&& slot_of) {
        weights = arena.take(make_room(count, from.depth, to));
        std::vector<float> rows(size_t(threads) * inputs);  // here, since the pool's work may not throw
        Pool::lead(threads, [&](Pool& pool) {
            pool.each(groups(), [&](int thread, int group) {
                float* row = &rows[size_t(thread) * inputs];
                for (int slot = group * kGroup; slot < (group + 1) * kGroup; ++slot) {
                    from.take(slot_of(slot), row);
                    put_row(slot, inputs, [&](int i) { return row[i]; });
                }
            });
        });
    }

    // The output of stacked halves that goes to `slot`; -1 for padding.
    static int unstacked(int slot, int half) {
        const int index = slot / kGroup / 2 * kGroup + slot % kGroup;
        return index < half ? index + slot / kGroup % 2 * half : -1;
    }
};

struct Layer {
    PackedMatrix qkv, out, gate_up, down;
    std::vector<float> attention_norm, mlp_norm, query_norm, key_norm;

    // Whether it can run: a copy for drafts holds the first layers only.
    bool filled() const {
        return qkv.filled() && out.filled() && gate_up.filled() && down.filled() && !attention_norm.empty() &&
               !mlp_norm.empty();
    }
};

struct Model {
    const dx_shape shape;
    const int threads;
    Arena arena;  // of all weights
    std::vector<Layer> layers;
    PackedMatrix head, embedding;  // the latter where it is in blocks of its own
    PackedMatrix draft_head;  // rows of the head for drafts alone, and whose they are
    std::vector<int64_t> draft_tokens;
    std::vector<float> final_norm;
    const void* table = nullptr;  // of embeddings, the caller's; null where the head is tied to them
    int table_tokens = 0;
    Dtype table_dtype = Dtype::bf16;
    const Model* original = nullptr;  // whose embeddings a copy reads

    Model(const dx_shape& s, int count) : shape(s), threads(count), layers(s.layers) {}
    int query_group() const { return shape.heads / shape.kv_heads; }
    int attended() const { return shape.heads * shape.head_dim; }
    int projected() const { return (shape.heads + 2 * shape.kv_heads) * shape.head_dim; }

    // What drafts read of `from`, in `form`. Throws std::bad_alloc.
    void draft_by(const std::vector<int64_t>& tokens, const PackedMatrix& from, Dtype form) {
        draft_head = PackedMatrix();
        draft_head.gather(from, tokens, form, arena, threads);
        draft_tokens = tokens;
    }

    // Whether drafts that read so many tokens read those.
    bool drafts_by(int tokens) const { return tokens <= int(draft_tokens.size()); }

    // How many tokens have an embedding.
    int vocabulary() const {
        if (original) return original->vocabulary();
        return table ? table_tokens : embedding.quantised ? embedding.outputs : head.outputs;
    }

    // A token's embedding.
    void embed(int64_t token, float* to) const {
        if (original) return original->embed(token, to);
        if (!table) return (embedding.quantised ? embedding : head).take(int(token), to);
        for (int i = 0; i < shape.hidden; ++i) to[i] = element(table, table_dtype, size_t(token) * shape.hidden + i);
    }

    int inner() const { return (shape.intermediate + kGroup - 1) / kGroup * kGroup; }
};

// RMSNorm of one row, as inputs of a product where `narrow` says how that reads them.
inline void normalise(const float* x, const std::vector<float>& gain, float epsilon, int size, float* to,
                      bool narrow = false) {
    Floats squares{};
    int i = 0;
    for (; i + kLanes <= size; i += kLanes) squares += load(x + i) * load(x + i);
    float total = sum(squares);
    for (; i < size; ++i) total += x[i] * x[i];
    const float scale = 1.0f / std::sqrt(total / float(size) + epsilon);
    for (i = 0; i < size; i += kLanes)
        put_inputs(to, i, load(x + i, size - i) * scale * load(&gain[i], size - i), size - i, narrow);
}

}  // namespace DYNEXIT_ISA
