// Attention of queries that share a key head, in blocks of positions.
//
// A block's keys, scores and values stay in the nearest caches for all queries. Blocks begin at the
// same positions for every query and are put together in ascending order, so a query's result never
// depends on the queries beside it. What it does not see has a weight of 0; where that meets a value which
// is no finite number, the query is computed again, without such values.
#pragma once

#include <climits>
#include <memory>
#include <new>
#include <vector>

#include "tree.h"

namespace DYNEXIT_ISA {

class Attention {
  public:
    static constexpr int kMostQueries = 24;

    // Room for so many queries at once, over so many positions at most.
    Attention(int queries, int head_dim, int positions)
        : head_dim_(head_dim), width_((head_dim + kGroup - 1) / kGroup * kGroup), queries_(queries * spaced(head_dim)),
          scores_(queries * spaced(std::min(kBlock, positions + kGroup))), sums_(size_t(queries) * width_),
          highest_(queries), totals_(queries), fading_(queries) {}

    // Where a query goes before `run`, [head_dim] inputs of the keys.
    float* query(int i) { return &queries_[i * spaced(head_dim_)]; }

    // Dimensions [d, d + kLanes) of what a query found.
    Floats result(int i, int d) const { return load(&sums_[size_t(i) * width_ + d]) * (1.0f / totals_[i]); }

    // Of rows that each have `each` queries, which see positions [0, seen(i)), or of these what their window shows. Within a
    // branch, `exchange(branch)` brings what it sees to its positions, and takes it away again.
    template <class Seen, class Exchange>
    void run(const Matrix& keys, const Matrix& values, const Together& rows, int each, Seen&& seen,
             Exchange&& exchange) {
        const int n = int(rows.rows.size()) * each, home = rows.home * each;
        int end = home ? seen(home - 1) : 0, apart = INT_MAX;  // the first position that a branch changes
        for (const Branch& b : rows.branches) {
            end = std::max(end, seen((b.first + b.count) * each - 1));
            for (const auto& [position, slot] : b.swaps) apart = std::min(apart, position);
        }
        forget(0, n);
        window_ = rows.window;
        int shown = INT_MAX;  // the first position past the sinks that any query sees
        for (int i = 0; i < n; i += each) shown = std::min(shown, window_.from(seen(i)));
        const int gap = (window_.sinks + kGroup - 1) / kGroup * kGroup, over = std::max(gap, shown / kGroup * kGroup);
        for (int start = 0, stop; start < end; start = stop == gap ? over : stop) {  // no query sees what is in the gap
            stop = start < gap && gap < over ? std::min(start + kBlock, gap) : start + kBlock;
            const int groups = (std::min(stop, end) - start + kGroup - 1) / kGroup;
            const Matrix part = values.part(start, groups * kGroup);
            if (start + kBlock <= apart) {
                block(keys, part, start, groups, 0, n, seen);
                continue;
            }
            if (home) block(keys, part, start, groups, 0, home, seen);
            for (const Branch& b : rows.branches) {
                exchange(b);
                block(keys, part, start, groups, b.first * each, b.count * each, seen);
                exchange(b);
            }
        }
        for (int i = 0; i < home; i += each)
            if (!finite(i, each)) again(keys, values, i, each, seen);
        for (const Branch& b : rows.branches)
            for (int i = b.first * each; i < (b.first + b.count) * each; i += each) {
                if (finite(i, each)) continue;
                exchange(b);
                again(keys, values, i, each, seen);
                exchange(b);
            }
    }

  private:
    static constexpr int kBlock = 512;  // positions

    void forget(int first, int count) {
        std::fill_n(&sums_[size_t(first) * width_], size_t(count) * width_, 0.0f);
        std::fill_n(&highest_[first], count, -INFINITY);
        std::fill_n(&totals_[first], count, 0.0f);
    }

    bool finite(int first, int count) const {
        Floats rest{};  // of x - x: 0, or no number
        for (size_t i = size_t(first) * width_; i < size_t(first + count) * width_; i += kLanes)
            rest += load(&sums_[i]) - load(&sums_[i]);
        return sum(rest) == 0.0f;
    }

    // Queries [first, first + count), which see the same positions, over copies of their values alone. Where
    // there is no memory for these, all stays as it was.
    template <class Seen>
    void again(const Matrix& keys, const Matrix& values, int first, int count, Seen&& seen) {
        const std::unique_ptr<char[]> copy(new (std::nothrow) char[kBlock * values.padded() * sizeof(float)]);
        if (!copy) return;
        forget(first, count);
        const int end = seen(first);
        for (int start = 0; start < end; start += kBlock) {
            const int positions = std::min(kBlock, end - start), groups = (positions + kGroup - 1) / kGroup;
            block(keys, seen_alone(values, start, positions, copy.get()), start, groups, first, count, seen);
        }
    }

    // Values of `positions` positions from `start` in memory of their own, and zeros up to a group's end.
    static Matrix seen_alone(const Matrix& values, int start, int positions, char* memory) {
        const int width = (positions + kGroup - 1) / kGroup * kGroup;
        const Matrix from = values.part(start, width);
        Matrix to = from;
        to.weights = memory;
        to.depth = width;
        const size_t size = to.group_bytes();
        for (int group = 0; group < to.groups(); ++group)
            std::memcpy(memory + size * group, from.weights + from.group_bytes() * group, size);
        for (int d = 0; d < to.padded(); ++d)
            for (int p = positions; p < width; ++p) to.put(d, p, 0.0f);
        return to;
    }

    // `count` queries from `first` over so many groups of positions from `start`, whose values are given.
    template <class Seen>
    void block(const Matrix& keys, const Matrix& values, int start, int groups, int first, int count, Seen&& seen) {
        const int width = groups * kGroup, from = start / kGroup;
        const float* queries = &queries_[first * spaced(head_dim_)];
        keys.times(queries, count, from, from + groups, [&](int i, int vector, Floats value) {
            store(&scores_[i * spaced(width) + vector * kLanes - start], value);
        });
        for (int i = 0; i < count; ++i)
            weigh(first + i, &scores_[i * spaced(width)], start, seen(first + i), width, values.narrow());
        values.times(scores_.data(), count, 0, values.groups(), [&](int i, int vector, Floats value) {
            float* sum = &sums_[size_t(first + i) * width_ + vector * kLanes];
            store(sum, load(sum) * fading_[first + i] + value);
        });
    }

    // Turns a query's scores of a block from `start`, of which those before `end` are seen as far as the window shows
    // them, into weights relative to the highest score so far.
    void weigh(int i, float* scores, int start, int end, int width, bool narrow) {
        for (int p = std::max(end - start, 0); p < width; ++p) scores[p] = -INFINITY;
        const int shown = std::min(window_.from(end) - start, width);
        for (int p = std::max(window_.sinks - start, 0); p < shown; ++p) scores[p] = -INFINITY;
        Floats best = all(highest_[i]);
        for (int p = 0; p < width; p += kLanes) best = maximum(best, load(scores + p));
        const float top = maximum(best);
        Floats total{};
        for (int p = 0; p < width; p += kLanes) {
            const Floats e = exponential(load(scores + p) - top);
            total += e;
            put_inputs(scores, p, e, kLanes, narrow);
        }
        fading_[i] = std::exp(highest_[i] - top);
        totals_[i] = totals_[i] * fading_[i] + sum(total);
        highest_[i] = top;
    }

    const int head_dim_, width_;
    Window window_;
    std::vector<float> queries_, scores_, sums_;
    std::vector<float> highest_, totals_, fading_;  // of a query: its highest score, and what that did to sums
};

}  // namespace DYNEXIT_ISA
