// A model's packed weights.
#pragma once

#include <functional>
#include <vector>

#include "api.h"
#include "matrix.h"
#include "memory.h"
#include "pool.h"

namespace DYNEXIT_ISA {

// A number of a tensor as it lies in a checkpoint.
inline float element(const void* numbers, Dtype dtype, size_t index) {
    return dtype == Dtype::bf16 ? from_bf16(static_cast<const uint16_t*>(numbers)[index])
                                : static_cast<const float*>(numbers)[index];
}

// A matrix that owns its weights.
struct PackedMatrix : Matrix {
    Memory memory;
    std::vector<float> biases, scales;

    // Packs rows [count, width] as they lie in a checkpoint; inputs beyond them, up to `room`, have no
    // weight. Of gate and up, stacked, groups alternate, so that one thread has both halves of what it
    // multiplies. Throws std::bad_alloc.
    void pack(const void* rows, int count, int width, int room, Dtype from, Dtype to, const float* bias,
              bool stacked, int threads) {
        const int half = (count / 2 + kGroup - 1) / kGroup * kGroup;
        outputs = stacked ? 2 * half : count;
        inputs = depth = room;
        dtype = to;
        memory = Memory(bytes());
        weights = memory.at();
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

    // Takes over the first `count` outputs of a packed matrix, in another form. Throws std::bad_alloc.
    void convert(const Matrix& from, int count, Dtype to, int threads) {
        outputs = std::min(count, from.outputs);
        inputs = depth = from.depth;
        dtype = to;
        memory = Memory(bytes());
        weights = memory.at();
        biases.assign(from.bias ? padded() : 0, 0.0f);
        if (from.bias) std::copy_n(from.bias, padded(), biases.begin());
        scales.assign(to == Dtype::int8 ? padded() : 0, 1.0f);
        scale = scales.empty() ? nullptr : scales.data();
        bias = biases.empty() ? nullptr : biases.data();
        Pool::lead(threads, [&](Pool& pool) {
            pool.each(groups(), [&](int, int group) {
                for (int slot = group * kGroup; slot < (group + 1) * kGroup; ++slot)
                    put_row(slot, inputs, [&](int i) { return from.get(slot, i); });
            });
        });
    }

  private:
    // The output of stacked halves that goes to `slot`; -1 for padding.
    static int unstacked(int slot, int half) {
        const int index = slot / kGroup / 2 * kGroup + slot % kGroup;
        return index < half ? index + slot / kGroup % 2 * half : -1;
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
};

struct Layer {
    PackedMatrix qkv, out, gate_up, down;
    std::vector<float> attention_norm, mlp_norm, query_norm, key_norm;

    // Whether it can run: a copy for drafts holds the first layers only.
    bool filled() const {
        return qkv.weights && out.weights && gate_up.weights && down.weights && !attention_norm.empty() &&
               !mlp_norm.empty();
    }
};

struct Model {
    const dx_shape shape;
    const int threads;
    std::vector<Layer> layers;
    PackedMatrix head;
    std::vector<float> final_norm;
    const void* table = nullptr;  // of embeddings, the caller's; null where the head is tied to them
    int table_tokens = 0;
    Dtype table_dtype = Dtype::bf16;
    const Model* original = nullptr;  // whose embeddings a copy reads

    Model(const dx_shape& s, int count) : shape(s), threads(count), layers(s.layers) {}
    int query_group() const { return shape.heads / shape.kv_heads; }
    int attended() const { return shape.heads * shape.head_dim; }
    int projected() const { return (shape.heads + 2 * shape.kv_heads) * shape.head_dim; }

    // How many tokens have an embedding.
    int vocabulary() const { return original ? original->vocabulary() : table ? table_tokens : head.outputs; }

    // A token's embedding.
    void embed(int64_t token, float* to) const {
        if (original) return original->embed(token, to);
        for (int i = 0; i < shape.hidden; ++i)
            to[i] = table ? element(table, table_dtype, size_t(token) * shape.hidden + i) : head.get(int(token), i);
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
