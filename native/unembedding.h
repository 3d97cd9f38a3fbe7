// Final norm and head: logits, or only what is read off them without writing them.
#pragma once

#include "text_tokens.h"

namespace DYNEXIT_ISA {

constexpr int kMostRanks = 4;

// Of the logits seen so far the best ones, of equal ones at the top the lowest id first, and the sum of all
// exponentials, relative to the best.
template <int kRanks>
struct Reading {
    float logits[kRanks], total = 0.0f;
    int64_t ids[kRanks] = {};

    Reading() { std::fill_n(logits, kRanks, -INFINITY); }
    float log_sum() const { return logits[0] + std::log(total); }

    // Logits of a vector of ids from `first`, of which those from `vocabulary_size` on do not count.
    void take(int64_t first, Floats given, int64_t vocabulary_size) {
        if (first >= vocabulary_size) return;
        float part[kLanes];
        store(part, given);
        for (int64_t i = vocabulary_size - first; i < kLanes; ++i) part[i] = -INFINITY;
        const float highest = maximum(load(part));
        if (!(highest <= logits[0])) {  // higher, or not a number
            total *= std::exp(logits[0] - highest);
            int lane = 0;
            while (lane < kLanes - 1 && part[lane] < highest) ++lane;
            replace_best(highest, first + lane);
        }
        if (kRanks > 1 && highest > logits[kRanks - 1])
            for (int i = 0; i < kLanes; ++i)
                if (first + i != ids[0]) rank(part[i], first + i);
        total += sum(exponential(load(part) - logits[0]));
    }

    // What was read of higher ids.
    void join(const Reading& later) {
        int used = 0;
        if (!(later.logits[0] <= logits[0])) {
            total = total * std::exp(logits[0] - later.logits[0]) + later.total;
            replace_best(later.logits[0], later.ids[0]);
            used = 1;
        } else {
            total += later.total * std::exp(later.logits[0] - logits[0]);
        }
        for (int i = used; i < kRanks; ++i) rank(later.logits[i], later.ids[i]);
    }

  private:
    void replace_best(float logit, int64_t id) {
        rank(logits[0], ids[0]);
        logits[0] = logit;
        ids[0] = id;
    }

    // Puts an id among those after the best.
    void rank(float logit, int64_t id) {
        if (kRanks == 1 || !(logit > logits[kRanks - 1])) return;
        int at = kRanks - 1;
        for (; at > 1 && logit > logits[at - 1]; --at) {
            logits[at] = logits[at - 1];
            ids[at] = ids[at - 1];
        }
        logits[at] = logit;
        ids[at] = id;
    }
};

// Of the logits seen so far the best one, of equal ones the lowest id, and whether all are numbers below infinity.
struct BestOf {
    typedef int32_t Numbers __attribute__((vector_size(kLanes * 4)));
    Floats best = all(-INFINITY);
    Numbers firsts{}, odd{};  // of each lane: the vector of its best, whether it had one that is no number

    void take(int64_t first, Floats given, int64_t vocabulary_size) {
        if (first >= vocabulary_size) return;
        if (first + kLanes > vocabulary_size) {
            float part[kLanes];
            store(part, given);
            for (int64_t i = vocabulary_size - first; i < kLanes; ++i) part[i] = -INFINITY;
            given = load(part);
        }
        const Numbers higher = Numbers(given > best);
        best = maximum(given, best);
        firsts = higher ? Numbers{} + int32_t(first) : firsts;
        odd |= ~Numbers(given < all(INFINITY));
    }

    // What was read of higher ids.
    void join(const BestOf& later) {
        const Numbers higher = Numbers(later.best > best);
        best = maximum(later.best, best);
        firsts = higher ? later.firsts : firsts;
        odd |= later.odd;
    }

    int64_t id() const {
        const float most = maximum(best);
        int64_t found = INT64_MAX;
        for (int lane = 0; lane < kLanes; ++lane)
            if (best[lane] == most) found = std::min(found, int64_t(firsts[lane]) + lane);
        return found == INT64_MAX ? 0 : found;
    }

    bool numbers() const {
        for (int lane = 0; lane < kLanes; ++lane)
            if (odd[lane]) return false;
        return true;
    }
};

class Unembedding {
  public:
    // Reads the head's first `vocabulary_size` tokens, for drafts those that were named for them, where there are so many.
    // With `own`, each row then reads those of its text.
    Unembedding(const Model& model, const float* hidden, int rows, int vocabulary_size, bool drafts = false,
                const TextTokens* const* own = nullptr)
        : model_(model), drafts_(drafts && model.drafts_by(vocabulary_size)),
          head_(drafts_ ? model.draft_head : model.head), rows_(rows), vocabulary_size_(vocabulary_size), own_(own),
          normed_(prepared(hidden, head_)) {
        const int groups = (vocabulary_size + kGroup - 1) / kGroup;
        for (int first = 0; first < groups; first += kPartGroups)
            parts_.push_back({&head_, normed_.data(), 0, rows, first, std::min(first + kPartGroups, groups), 0, vocabulary_size});
        if (!own || !rows) return;
        const PackedMatrix& any = own[0]->rows;  // all are in one form
        const bool alike = !head_.quantised && any.narrow() == head_.narrow();
        if (!alike) own_normed_ = prepared(hidden, any);
        for (int row = 0, count; row < rows; row += count) {
            for (count = 1; row + count < rows && own[row + count] == own[row];) ++count;
            const PackedMatrix& read = own[row]->rows;
            const float* x = (alike ? normed_ : own_normed_).data() + row * spaced(model.shape.hidden);
            for (int first = 0; first < read.groups(); first += kPartGroups)
                parts_.push_back({&read, x, row, count, first, std::min(first + kPartGroups, read.groups()),
                                  vocabulary_size, vocabulary_size + read.outputs});
        }
    }

    // Rows are `width` apart; what is not read is left as it is.
    void logits(float* to, int width) {
        each_vector([&](int part, int row, int first, Floats value) {
            store(to + size_t(row) * width + first, value, parts_[part].end - first);
        });
    }

    // Per row: the best id, its logit, and the logarithm of the sum of all exponentials.
    void readings(int64_t* best, float* best_logit, float* log_sum) {
        const auto found = read_off<Reading<1>>();
        for (int row = 0; row < rows_; ++row) {
            best[row] = token(row, found[row].ids[0]);
            best_logit[row] = found[row].logits[0];
            log_sum[row] = found[row].log_sum();
        }
    }

    // Per row: the best id and its logit; and 0, or what is no number where any logit is none.
    void best(int64_t* best, float* best_logit, float* odd) {
        const auto found = read_off<BestOf>();
        for (int row = 0; row < rows_; ++row) {
            best[row] = found[row].id();
            best_logit[row] = maximum(found[row].best);
            odd[row] = found[row].numbers() ? 0.0f : NAN;
        }
    }

    // The token that a row reads at a place.
    int64_t token(int row, int64_t place) const {
        if (place >= vocabulary_size_) return own_[row]->tokens[place - vocabulary_size_];
        return drafts_ ? model_.draft_tokens[place] : place;
    }

    // What is read of each row, part by part; ids are places.
    template <class Read>
    std::vector<Read> read_off() {
        std::vector<Read> found(parts_.size() * rows_);
        each_vector([&](int part, int row, int first, Floats value) {
            found[size_t(part) * rows_ + row].take(first, value, parts_[part].end);
        });
        for (size_t part = 1; part < parts_.size(); ++part)
            for (int row = parts_[part].row; row < parts_[part].row + parts_[part].rows; ++row)
                found[row].join(found[part * rows_ + row]);
        found.resize(rows_);
        return found;
    }

  private:
    static constexpr int kPartGroups = 32;  // whatever the threads, so that sums are the same for all

    // Groups [first, last) of a matrix for some rows, at places from `place` on, up to `end`.
    struct Part {
        const PackedMatrix* matrix;
        const float* x;
        int row, rows, first, last, place, end;
    };

    // Normalised rows as products by a matrix read them.
    std::vector<float> prepared(const float* hidden, const PackedMatrix& matrix) const {
        const int size = model_.shape.hidden;
        std::vector<float> normed(rows_ * spaced(size));
        for (int r = 0; r < rows_; ++r) {
            float* row = &normed[r * spaced(size)];
            normalise(hidden + size_t(r) * size, model_.final_norm, model_.shape.epsilon, size, row, matrix.narrow());
            matrix.prepare(row);
        }
        return normed;
    }

    // Calls `take(part, row, first place, logits)`, a row's places in ascending order within a part.
    template <class Take>
    void each_vector(Take&& take) {
        Pool::lead(model_.threads, [&](Pool& pool) {
            pool.each(int(parts_.size()), [&](int, int index) {
                const Part& part = parts_[index];
                part.matrix->times(part.x, part.rows, part.first, part.last, [&](int row, int vector, Floats value) {
                    take(index, part.row + row, part.place + vector * kLanes, value);
                });
            });
        });
    }

    const Model& model_;
    const bool drafts_;
    const PackedMatrix& head_;
    const int rows_, vocabulary_size_;
    const TextTokens* const* own_;
    std::vector<float> normed_, own_normed_;
    std::vector<Part> parts_;
};

}  // namespace DYNEXIT_ISA
