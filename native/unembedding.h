// Final norm and head: logits, or only what is read off them without writing them.
#pragma once

#include "model.h"

namespace DYNEXIT_ISA {

// The best logit, the lowest id that has it, the best of the others, and the sum of exponentials, of the
// logits seen so far.
struct Reading {
    float top = -INFINITY, second = -INFINITY, total = 0.0f;
    int64_t best = 0, next = 0;

    // Logits of a vector of ids from `first`, of which those from `choosable` on do not count.
    void take(int64_t first, Floats logits, int64_t choosable) {
        if (first >= choosable) return;
        float part[kLanes];
        store(part, logits);
        for (int64_t i = choosable - first; i < kLanes; ++i) part[i] = -INFINITY;
        const float highest = maximum(load(part));
        if (!(highest <= top)) {  // higher, or not a number
            total *= std::exp(top - highest);
            int lane = 0;
            while (lane < kLanes - 1 && part[lane] < highest) ++lane;
            runner_up(top, best);
            top = highest;
            best = first + lane;
        }
        if (highest > second)
            for (int i = 0; i < kLanes; ++i)
                if (first + i != best) runner_up(part[i], first + i);
        total += sum(exponential(load(part) - top));
    }

    void runner_up(float logit, int64_t id) {
        if (!(logit > second)) return;
        second = logit;
        next = id;
    }

    // What was read of higher ids.
    void join(const Reading& later) {
        if (!(later.top <= top)) {
            total = total * std::exp(top - later.top) + later.total;
            runner_up(top, best);
            top = later.top;
            best = later.best;
        } else {
            total += later.total * std::exp(later.top - top);
            runner_up(later.top, later.best);
        }
        runner_up(later.second, later.next);
    }
};

class Unembedding {
  public:
    Unembedding(const Model& model, const float* hidden, int rows, int choosable)
        : model_(model), rows_(rows), choosable_(choosable), groups_((choosable + kGroup - 1) / kGroup),
          parts_((groups_ + kPartGroups - 1) / kPartGroups), normed_(rows * spaced(model.shape.hidden)) {
        for (int r = 0; r < rows; ++r) {
            float* normed = &normed_[r * spaced(model.shape.hidden)];
            normalise(hidden + size_t(r) * model.shape.hidden, model.final_norm, model.shape.epsilon,
                      model.shape.hidden, normed, model.head.narrow());
            model.head.prepare(normed);
        }
    }

    void logits(float* to) {
        each_vector([&](int, int row, int first, Floats value) {
            store(to + size_t(row) * choosable_ + first, value, choosable_ - first);
        });
    }

    // Per row: the best id, its logit, and the logarithm of the sum of all exponentials; where wanted, the
    // next best id.
    void readings(int64_t* best, float* best_logit, float* log_sum, int64_t* next = nullptr) {
        std::vector<Reading> found(size_t(parts_) * rows_);
        each_vector([&](int part, int row, int first, Floats value) {
            found[size_t(part) * rows_ + row].take(first, value, choosable_);
        });
        for (int row = 0; row < rows_; ++row) {
            Reading whole = found[row];
            for (int part = 1; part < parts_; ++part) whole.join(found[size_t(part) * rows_ + row]);
            best[row] = whole.best;
            if (next) next[row] = whole.next;
            best_logit[row] = whole.top;
            log_sum[row] = whole.top + std::log(whole.total);
        }
    }

  private:
    static constexpr int kPartGroups = 32;  // whatever the threads, so that sums are the same for all

    // Calls `take(part, row, first id, logits)`, a row's ids in ascending order within a part.
    template <class Take>
    void each_vector(Take&& take) {
        Pool::lead(model_.threads, [&](Pool& pool) {
            pool.each(parts_, [&](int, int part) {
                const int first = part * kPartGroups, last = std::min(first + kPartGroups, groups_);
                model_.head.times(normed_.data(), rows_, first, last, [&](int row, int vector, Floats value) {
                    take(part, row, vector * kLanes, value);
                });
            });
        });
    }

    const Model& model_;
    const int rows_, choosable_, groups_, parts_;
    std::vector<float> normed_;
};

}  // namespace DYNEXIT_ISA
