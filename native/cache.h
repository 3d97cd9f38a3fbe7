// Keys and values of one sequence. Both lie as packed matrices: scores are the keys [positions,
// head_dim] times a query, results the values [head_dim, positions] times probabilities.
#pragma once

#include <tuple>

#include "model.h"

namespace DYNEXIT_ISA {

class Cache {
  public:
    explicit Cache(const dx_shape& shape) : shape_(shape), layers_(shape.layers) {}

    // Room for `positions`; what is there stays. Throws std::bad_alloc, and is then as it was.
    void reserve(int positions) {
        constexpr int kBlock = 256;
        const int capacity = (positions + kBlock - 1) / kBlock * kBlock;
        for (Store& store : layers_)
            if (store.capacity < positions) store = grown(store, capacity);
    }

    // Whether it can hold what a model of this shape writes.
    bool fits(const dx_shape& shape) const {
        const auto kept = [](const dx_shape& s) { return std::tie(s.layers, s.kv_heads, s.head_dim, s.cached); };
        return kept(shape_) == kept(shape);
    }

    // Slots that every layer has room for.
    int capacity() const {
        int least = layers_[0].capacity;
        for (const Store& store : layers_) least = std::min(least, store.capacity);
        return least;
    }

    size_t bytes() const {
        size_t total = 0;
        for (const Store& store : layers_) total += store.keys.bytes() + store.values.bytes();
        return total;
    }

    Matrix keys(int layer, int head) const { return keys(layers_[layer], head); }
    Matrix values(int layer, int head) const { return values(layers_[layer], head); }

    void write(int layer, int head, int slot, const float* key, const float* value) const {
        with_format([&](auto format) {
            const auto to = at<decltype(format)>(layer, head, slot);
            for (int d = 0; d < shape_.head_dim; ++d) format.put(to.key(d), key[d]);
            for (int d = 0; d < shape_.head_dim; ++d) format.put(to.value(d), value[d]);
        });
    }

    // Two slots of a head change places.
    void exchange(int layer, int head, int one, int other) const {
        with_format([&](auto format) {
            const auto a = at<decltype(format)>(layer, head, one), b = at<decltype(format)>(layer, head, other);
            for (int d = 0; d < shape_.head_dim; ++d) format.exchange(a.key(d), b.key(d));
            for (int d = 0; d < shape_.head_dim; ++d) format.exchange(a.value(d), b.value(d));
        });
    }

    // A slot of every layer takes the place of another.
    void move(int from, int to) const {
        for (int layer = 0; layer < shape_.layers; ++layer)
            for (int head = 0; head < shape_.kv_heads; ++head) exchange(layer, head, from, to);
    }

    // Bytes of a block: the keys and values of kGroup positions in all layers.
    size_t block_bytes() const {
        const Matrix key = view({}, 0, kGroup, shape_.head_dim), value = view({}, 0, shape_.head_dim, kGroup);
        return (key.bytes() + value.bytes()) * shape_.kv_heads * shape_.layers;
    }

    // A block goes to `to` as it lies here, layer after layer.
    void save(int block, char* to) const {
        each_piece(block, [&](const char* piece, size_t bytes) {
            std::memcpy(to, piece, bytes);
            to += bytes;
        });
    }

    // One that `save` has written comes back.
    void restore(int block, const char* from) const {
        each_piece(block, [&](char* piece, size_t bytes) {
            std::memcpy(piece, from, bytes);
            from += bytes;
        });
    }

  private:
    // What of a block lies together: the keys of a head, and its values, a group of dimensions at a time.
    template <class Work>
    void each_piece(int block, Work&& work) const {
        for (int layer = 0; layer < shape_.layers; ++layer)
            for (int head = 0; head < shape_.kv_heads; ++head) {
                const Matrix key = keys(layer, head), value = values(layer, head);
                work(key.weights + key.group_bytes() * block, key.group_bytes());
                for (int g = 0; g < value.groups(); ++g)
                    work(value.at(g * kGroup, block * kGroup), value.pair_bytes() * (kGroup / 2));
            }
    }

    // Where the numbers of one slot lie: a row of the keys, a column of the values.
    template <class Format>
    struct Slot {
        char *keys, *values;
        size_t group_bytes;
        char* key(int d) const { return keys + d / 2 * Format::kPairBytes + Format::place(d, 0); }
        char* value(int d) const { return values + d / kGroup * group_bytes + Format::place(0, d % kGroup); }
    };

    template <class Format>
    Slot<Format> at(int layer, int head, int slot) const {
        const Matrix v = values(layer, head);
        return {keys(layer, head).at(slot, 0), v.at(0, slot), v.group_bytes()};
    }

    template <class Work>
    void with_format(Work&& work) const {
        if (Dtype(shape_.cached) == Dtype::bf16) work(Bf16{});
        else work(Fp32{});
    }

    struct Store {  // of one layer, one head after the other
        int capacity = 0;  // positions, a multiple of a group
        Memory keys, values;
    };

    Matrix keys(const Store& s, int head) const { return view(s.keys, head, s.capacity, shape_.head_dim); }
    Matrix values(const Store& s, int head) const { return view(s.values, head, shape_.head_dim, s.capacity); }

    Matrix view(const Memory& memory, int head, int outputs, int inputs) const {
        Matrix m;
        m.outputs = outputs;
        m.inputs = inputs;
        m.depth = (inputs + 1) / 2 * 2;
        m.dtype = Dtype(shape_.cached);
        m.weights = memory.at() + m.bytes() * head;
        return m;
    }

    Store grown(const Store& old, int capacity) const {
        Store s;
        s.capacity = capacity;
        s.keys = Memory(keys(s, 0).bytes() * shape_.kv_heads);
        s.values = Memory(values(s, 0).bytes() * shape_.kv_heads);
        for (int h = 0; h < shape_.kv_heads && old.capacity; ++h) {
            const Matrix key = keys(old, h), from = values(old, h), to = values(s, h);
            std::memcpy(keys(s, h).weights, key.weights, key.bytes());
            for (int g = 0; g < from.groups(); ++g)
                std::memcpy(to.weights + to.group_bytes() * g, from.weights + from.group_bytes() * g,
                            from.group_bytes());
        }
        return s;
    }

    const dx_shape shape_;
    std::vector<Store> layers_;
};

}  // namespace DYNEXIT_ISA
