// Texts that were written before, for drafts: a window over their newest tokens, in which the last places of any three
// tokens are found, and what followed there is counted. Memory is taken once; what falls out of the window is the oldest.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

// What followed the longest match of a text's last tokens: `total` times anything, each of `count` tokens so often.
struct Following {
    static constexpr int kMost = 4;
    int64_t tokens[kMost];
    int32_t counts[kMost];
    int count = 0, total = 0, length = 0;
};

class Earlier {
  public:
    static constexpr int kLeast = 3, kLongest = 32;  // tokens that must match, and that are compared
    static constexpr int kTries = 32;                // places that are looked at, the latest first

    // Room for so many tokens, a power of two. Throws std::bad_alloc.
    explicit Earlier(uint32_t room) : mask_(room - 1), tokens_(room, kEnd), before_(room), heads_(room) {}

    // Takes over a text. The next one is not its continuation.
    void add(const int64_t* tokens, int count) {
        const std::lock_guard lock(mutex_);
        for (int i = 0; i < count; ++i) {
            push(int32_t(tokens[i]));
            if (i + 1 < kLeast) continue;
            uint32_t& head = heads_[bucket(tokens + i + 1)];
            before_[(next_ - 1) & mask_] = head;
            head = next_ - 1;
        }
        push(kEnd);
    }

    // What followed the last of these tokens, the most frequent first.
    Following find(const int64_t* tokens, int count) const {
        Following found;
        if (count < kLeast) return found;
        const std::lock_guard lock(mutex_);
        uint32_t at = heads_[bucket(tokens + count)], last = 0;
        for (int tries = 0; tries < kTries; ++tries, at = before_[at & mask_]) {
            const uint32_t distance = next_ - at;  // grows along a chain, unless its rest has fallen out
            if (distance <= last || distance > mask_) break;
            last = distance;
            const int32_t after = tokens_[(at + 1) & mask_];
            const int length = after == kEnd ? 0 : matching(at, distance, tokens, count);
            if (length < std::max(found.length, kLeast)) continue;
            if (length > found.length) found = {{}, {}, 0, 0, length};
            take(found, after);
        }
        for (int i = 1; i < found.count; ++i)  // of equals the later place comes first, as they were found
            for (int j = i; j && found.counts[j] > found.counts[j - 1]; --j) {
                std::swap(found.counts[j], found.counts[j - 1]);
                std::swap(found.tokens[j], found.tokens[j - 1]);
            }
        return found;
    }

  private:
    static constexpr int32_t kEnd = -1;  // stands between texts

    void push(int32_t token) {
        tokens_[next_ & mask_] = token;
        before_[next_ & mask_] = next_ - mask_ - 1;  // out of sight
        ++next_;
    }

    // By the tokens that end before `end`.
    uint32_t bucket(const int64_t* end) const {
        uint64_t word = 0;
        for (int i = 1; i <= kLeast; ++i) word = (word + uint64_t(end[-i])) * 0x9E3779B97F4A7C15;
        return uint32_t(word >> 32) & mask_;
    }

    // How many tokens up to place `at` are also the last of these.
    int matching(uint32_t at, uint32_t distance, const int64_t* tokens, int count) const {
        const int most = int(std::min<uint32_t>({uint32_t(kLongest), uint32_t(count), mask_ + 2 - distance}));
        int length = 0;
        while (length < most && tokens_[(at - length) & mask_] == tokens[count - 1 - length]) ++length;
        return length;
    }

    static void take(Following& found, int32_t token) {
        ++found.total;
        int i = 0;
        while (i < found.count && found.tokens[i] != token) ++i;
        if (i == Following::kMost) return;
        if (i == found.count) {
            found.tokens[found.count] = token;
            found.counts[found.count++] = 0;
        }
        ++found.counts[i];
    }

    const uint32_t mask_;
    uint32_t next_ = 0;  // places are counted on past the room, and round 2^32
    std::vector<int32_t> tokens_;
    std::vector<uint32_t> before_;  // of each place, the one before it with the same last tokens
    std::vector<uint32_t> heads_;   // the last place of a bucket
    mutable std::mutex mutex_;
};
