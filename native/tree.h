// Where the rows of a round stand: a chain, or a tree of tokens that may follow one another.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "cache.h"

namespace DYNEXIT_ISA {

// A row of a pass: the position of its token, and the slot of the cache that keeps its key and value.
struct Row {
    Cache* cache;
    int position, slot;
    bool at_home() const { return position == slot; }
};

// Rows off home that follow one another; `swaps` are the positions that hold something else than what they see,
// and the slots where that is.
struct Branch {
    int first, count;  // among the rows of its `Together`
    std::vector<std::pair<int, int>> swaps;
};

// What a query sees of the positions before `end`: all, or where `recent` is not 0, the first `sinks` and the last `recent`.
struct Window {
    int sinks = 0, recent = 0;
    int from(int end) const { return recent ? std::max(end - recent, 0) : 0; }  // those before it are seen if they are sinks
};

// Rows of a pass that attend together: those at home in ascending order, then branch after branch.
struct Together {
    std::vector<int> rows;
    int home = 0;
    std::vector<Branch> branches;
    Window window;
};

inline int parent_of(const dx_span& s, int row) { return s.parents ? s.parents[row - 1] : row - 1; }

// All rows of a span's round up to the last of the pass.
inline std::vector<Row> rows_of(const dx_span& s) {
    const int count = s.first + s.length;
    std::vector<Row> rows(count);
    std::vector<bool> followed(count);
    for (int i = 0; i < count; ++i) {
        rows[i] = {static_cast<Cache*>(s.cache), s.start, s.start};
        if (i == 0) continue;
        const int parent = parent_of(s, i), position = rows[parent].position + 1;
        const bool home = rows[parent].at_home() && !followed[parent];
        rows[i].position = position;
        rows[i].slot = home ? position : s.slot + i;
        if (home) followed[parent] = true;
    }
    return rows;
}

// The rows of the pass, the first of which is its number `offset`.
inline Together together(const dx_span& s, const std::vector<Row>& rows, int offset) {
    Together all;
    all.window = {s.sinks, s.recent};
    std::vector<std::vector<int>> branches;
    std::vector<int> branch_of(rows.size(), -1);  // whose last row this is
    for (int i = s.first; i < s.first + s.length; ++i) {
        if (rows[i].at_home()) {
            all.rows.push_back(offset + i - s.first);
            continue;
        }
        const int parent = parent_of(s, i);
        const int branch = branch_of[parent] < 0 ? int(branches.size()) : branch_of[parent];
        if (branch_of[parent] < 0) branches.emplace_back();
        branch_of[parent] = -1;
        branches[branch].push_back(i);
        branch_of[i] = branch;
    }
    all.home = int(all.rows.size());
    for (const std::vector<int>& branch : branches) {
        Branch& b = all.branches.emplace_back(Branch{int(all.rows.size()), int(branch.size()), {}});
        for (const int i : branch) all.rows.push_back(offset + i - s.first);
        for (int i = branch.back(); !rows[i].at_home(); i = parent_of(s, i))
            b.swaps.emplace_back(rows[i].position, rows[i].slot);
    }
    return all;
}

}  // namespace DYNEXIT_ISA
