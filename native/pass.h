// One pass: the rows of several sequences through layers [first, last), in one call.
#pragma once

#include <deque>

#include "attention.h"

namespace DYNEXIT_ISA {

class Pass {
  public:
    Pass(const Model& model, const dx_span* spans, int count, float* hidden, const dx_angles& angles)
        : model_(model), s_(model.shape), hidden_(hidden), angles_(angles) {
        for (int i = 0; i < count; ++i) place(spans[i]);
        const size_t n = rows_.size();
        normed_.resize(n * spaced(s_.hidden));
        projected_.resize(n * model.projected());
        attended_.resize(n * spaced(model.attended()));
        gated_.resize(n * spaced(model.inner()));
        plan_attention();
    }

    // Where `states` is given, the last `keep` rows that leave each layer go there, [layers, keep, hidden]. `skips`, where
    // given, says of each layer of the model what is left out: `dx_sublayer`.
    void run(int first, int last, float* states, int keep, const uint8_t* skips = nullptr) {
        Pool::lead(model_.threads, [&](Pool& pool) {
            for (int l = first; l < last; ++l) {
                const int skipped = skips ? skips[l] : 0;
                if (!(skipped & DX_ATTENTION)) attention(l, pool);
                if (!(skipped & DX_MLP)) mlp(l, pool);
                if (states)
                    std::memcpy(states + size_t(l - first) * keep * s_.hidden, hidden_ + size_t(count() - keep) * s_.hidden,
                                size_t(keep) * s_.hidden * sizeof(float));
            }
        });
    }

  private:
    static constexpr int kFewInputs = 4096, kFewHeads = 2;  // that are not worth sharing out

    struct Task {  // attention of some rows over one key head
        int head;
        const Together* rows;
    };

    // Takes the rows of a span. They are shared out evenly over as few parts as hold their queries and leave no thread
    // idle; those of a tree with branches, which exchange slots of the cache, all are one.
    void place(const dx_span& span) {
        const std::vector<Row> rows = rows_of(span);
        const int before = count(), most = std::max(1, Attention::kMostQueries / model_.query_group());
        rows_.insert(rows_.end(), rows.begin() + span.first, rows.end());
        Together all = together(span, rows, before);
        if (!all.branches.empty()) return together_.push_back(std::move(all));
        int parts = (span.length + most - 1) / most;
        const auto even = [&](int tasks) { return tasks % model_.threads == 0 || tasks > 4 * model_.threads; };
        while (!even(parts * s_.kv_heads) && span.length / (parts + 1) * model_.query_group() >= kMostRows) ++parts;
        for (int p = 0; p < parts; ++p) {
            const Share part = share(span.length, p, parts);
            together_.push_back({{all.rows.begin() + part.first, all.rows.begin() + part.last}, part.last - part.first, {}, all.window});
        }
    }

    void plan_attention() {
        int widest = 0, longest = 0;
        for (const Together& rows : together_) {
            widest = std::max(widest, int(rows.rows.size()));
            for (int h = 0; h < s_.kv_heads; ++h) tasks_.push_back({h, &rows});
        }
        for (const Row& row : rows_) longest = std::max(longest, row.position + 1);
        attentions_ = std::vector(model_.threads, Attention(widest * model_.query_group(), s_.head_dim, longest));
        gates_.resize(model_.threads * rows_.size() * kGroup);
    }

    void attention(int index, Pool& pool) {
        const Layer& l = model_.layers[index];
        normalise_rows(l.attention_norm, l.qkv, pool);
        linear(l.qkv, normed_.data(), pool, projected_.data(), false);
        in_parts(count() * s_.kv_heads, kFewHeads, pool, [&](int, Share part) {
            for (int i = part.first; i < part.last; ++i) remember(l, index, i % count(), i / count());
        });
        pool.each(int(tasks_.size()), [&](int thread, int i) { attend(l, index, tasks_[i], attentions_[thread]); });
        prepare_rows(l.out, attended_.data(), pool);
        linear(l.out, attended_.data(), pool, hidden_, true);
    }

    void mlp(int index, Pool& pool) {
        const Layer& l = model_.layers[index];
        normalise_rows(l.mlp_norm, l.gate_up, pool);
        gate(l, pool);
        linear(l.down, gated_.data(), pool, hidden_, true);
    }

    int count() const { return int(rows_.size()); }

    // `work(thread, part)` over `things`, in one part where there are few, else in some for each thread.
    template <class Work>
    void in_parts(int things, int few, Pool& pool, Work&& work) {
        const int parts = things <= std::max(few, 1) ? 1 : std::min(things, model_.threads);
        pool.each(parts, [&](int thread, int part) { work(thread, share(things, part, parts)); });
    }

    void normalise_rows(const std::vector<float>& gain, const PackedMatrix& next, Pool& pool) {
        in_parts(count(), kFewInputs / next.inputs, pool, [&](int, Share part) {
            for (int row = part.first; row < part.last; ++row) {
                float* normed = &normed_[row * spaced(s_.hidden)];
                normalise(hidden_ + size_t(row) * s_.hidden, gain, s_.epsilon, s_.hidden, normed, next.narrow());
                next.prepare(normed);
            }
        });
    }

    // Rows that several threads have written, for a product that reads them otherwise.
    void prepare_rows(const PackedMatrix& next, float* x, Pool& pool) {
        if (!next.quantised) return;
        in_parts(count(), kFewInputs / next.inputs, pool, [&](int, Share part) {
            for (int row = part.first; row < part.last; ++row) next.prepare(x + row * spaced(next.inputs));
        });
    }

    // A product, [rows, outputs], stored in `to` or added to it.
    void linear(const PackedMatrix& m, const float* x, Pool& pool, float* to, bool add) {
        in_parts(m.groups(), 1, pool, [&](int, Share part) {
            m.times(x, count(), part.first, part.last, [&](int row, int vector, Floats value) {
                const int output = vector * kLanes;
                float* at = to + size_t(row) * m.outputs + output;
                if (add) value += load(at, m.outputs - output);
                store(at, value, m.outputs - output);
            });
        });
    }

    // silu(gate) * up, as inputs of the next product: a group of gates comes before the group of ups that it meets.
    void gate(const Layer& l, Pool& pool) {
        const PackedMatrix& m = l.gate_up;
        in_parts(m.groups() / 2, 1, pool, [&](int thread, Share part) {
            float* gates = &gates_[thread * rows_.size() * kGroup];
            m.times(normed_.data(), count(), part.first * 2, part.last * 2, [&](int row, int vector, Floats value) {
                const int group = vector / kPerGroup, lane = vector % kPerGroup * kLanes;
                float* gated = gates + size_t(row) * kGroup + lane;
                if (group % 2 == 0) return store(gated, value);
                const Floats found = silu(load(gated)) * value;
                float* to = &gated_[row * spaced(model_.inner())];
                if (!l.down.quantised) return put_inputs(to, group / 2 * kGroup + lane, found, kLanes, l.down.narrow());
                store(gated, found);
                if (lane + kLanes == kGroup) quantise_block(gates + size_t(row) * kGroup, to, group / 2);
            });
        });
    }

    static Floats silu(Floats x) { return x / (exponential(Floats{} - x) + 1.0f); }

    // Normalises (where the family does) and rotates a head in place.
    void turn(float* head, const std::vector<float>& gain, int position) const {
        const int d = s_.head_dim, half = d / 2;
        if (!gain.empty()) normalise(head, gain, s_.epsilon, d, head);
        const float* cos = angles_.cos + size_t(position) * d;
        const float* sin = angles_.sin + size_t(position) * d;
        for (int i = 0; i < half; ++i) {
            const float low = head[i], high = head[i + half];
            head[i] = low * cos[i] + high * sin[i];
            head[i + half] = high * cos[i + half] + low * sin[i + half];
        }
    }

    // Turns a row's key of this head and the queries that share it; keeps key and value.
    void remember(const Layer& l, int index, int row, int head) {
        const int d = s_.head_dim, group = model_.query_group(), position = rows_[row].position;
        float* start = &projected_[size_t(row) * model_.projected()];
        for (int q = head * group; q < (head + 1) * group; ++q) turn(start + q * d, l.query_norm, position);
        float* key = start + (s_.heads + head) * d;
        turn(key, l.key_norm, position);
        rows_[row].cache->write(index, head, rows_[row].slot, key, key + s_.kv_heads * d);
    }

    void attend(const Layer& l, int index, const Task& task, Attention& attention) {
        const int d = s_.head_dim, group = model_.query_group(), n = int(task.rows->rows.size()) * group;
        const Cache& cache = *rows_[task.rows->rows[0]].cache;
        const float scale = 1.0f / std::sqrt(float(d));
        const Matrix keys = cache.keys(index, task.head);
        for (int i = 0; i < n; ++i) {
            const float* from = &projected_[row_of(task, i) * model_.projected() + head_of(task, i)];
            for (int j = 0; j < d; j += kLanes)
                put_inputs(attention.query(i), j, load(from + j, d - j) * scale, d - j, keys.narrow());
        }
        attention.run(
            keys, cache.values(index, task.head), *task.rows, group,
            [&](int i) { return rows_[row_of(task, i)].position + 1; },
            [&](const Branch& branch) {
                for (const auto& [position, slot] : branch.swaps) cache.exchange(index, task.head, position, slot);
            });
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < d; j += kLanes)
                put_inputs(&attended_[row_of(task, i) * spaced(model_.attended())], head_of(task, i) + j,
                           attention.result(i, j), d - j, l.out.narrow());
    }

    // Of query i of a task: its row, and where its head begins in that.
    size_t row_of(const Task& task, int i) const { return size_t(task.rows->rows[i / model_.query_group()]); }
    int head_of(const Task& task, int i) const {
        const int group = model_.query_group();
        return (task.head * group + i % group) * s_.head_dim;
    }

    const Model& model_;
    const dx_shape& s_;
    float* hidden_;
    const dx_angles& angles_;
    std::vector<Row> rows_;
    std::deque<Together> together_;  // which tasks point into
    std::vector<Task> tasks_;
    std::vector<Attention> attentions_;  // one for each thread, as are the gates
    std::vector<float> normed_, projected_, attended_, gated_, gates_;
};

}  // namespace DYNEXIT_ISA
