// Drafts that are imagined from how sure an exit was so far: `src/dynexit/decoding/imagining.py` has the same
// rules in Python.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "api.h"

namespace {

class Imagining {
  public:
    explicit Imagining(const dx_imagining& how) : how_(how) {}

    dx_imagined all() {
        dx_imagined sums{};
        for (int draft = 0; draft < how_.drafts; ++draft) one(how_.drawn + size_t(draft) * how_.draws, sums);
        return sums;
    }

  private:
    void one(const double* draws, dx_imagined& sums) {
        const double* const end = draws + how_.draws;
        int count = 0;
        chances_.assign(1, 1.0);
        for (int level = 0; level <= how_.num_levels; ++level) {
            children_.clear();
            for (size_t i = 0; i < chances_.size() && draws < end; ++i) add(chances_[i], *draws++, floor(count));
            std::sort(children_.begin(), children_.end(), std::greater<>());
            chances_.clear();
            double total = 0.0;
            for (const double child : children_) {
                if (child < floor(count)) break;
                chances_.push_back(child);
                total += child;
                ++count;
            }
            sums.accepted += total;
            sums.levels += 1.0;
            if (total <= (level < how_.num_levels ? how_.levels[level] : 0.0)) break;
        }
        sums.tokens += count;
    }

    // The children of a token of this chance that are worth a row, where its confidence is the one drawn.
    void add(double chance, double draw, double least) {
        const auto part = std::min<ptrdiff_t>(std::upper_bound(how_.ends, how_.ends + how_.parts, draw) - how_.ends, how_.parts - 1);
        for (int rank = 0; rank < how_.ranks; ++rank)
            if (const double child = chance * how_.odds[size_t(rank) * how_.parts + part]; child >= least) children_.push_back(child);
    }

    double floor(int count) const { return count < how_.num_rows ? how_.rows[count] : INFINITY; }

    const dx_imagining& how_;
    std::vector<double> chances_, children_;  // of a level's tokens, and of those after them
};

}  // namespace
