// Reading memory as fast as threads can, for the roofline. How fast that is depends on the pattern: from how
// many places at once a thread reads, and how far ahead it asks. Which is the fastest depends on the machine.
#pragma once

#include <vector>

#include "matrix.h"
#include "pool.h"

namespace DYNEXIT_ISA {

constexpr int64_t kUnit = 256;  // bytes read at one place before the next

// All words of `units` units combined by exclusive or, kStreams parts of them side by side.
template <int kStreams>
Words mixed(const char* from, int64_t units, int64_t ahead) {
    constexpr int kVectors = kUnit / sizeof(Words), kSums = 4;
    const int64_t each = units / kStreams;
    Words sums[kSums] = {};
    const auto take = [&](const char* at) {
        if (ahead) prefetch(at + ahead, kUnit);
        for (int v = 0; v < kVectors; ++v) sums[v % kSums] ^= load_as<Words>(at + v * sizeof(Words));
    };
    for (int64_t i = 0; i < each; ++i)
        for (int s = 0; s < kStreams; ++s) take(from + (s * each + i) * kUnit);
    for (int64_t i = each * kStreams; i < units; ++i) take(from + i * kUnit);
    return sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
}

inline Words mixed(const char* from, int64_t units, int streams, int64_t ahead) {
    switch (streams) {
        case 1: return mixed<1>(from, units, ahead);
        case 2: return mixed<2>(from, units, ahead);
        case 4: return mixed<4>(from, units, ahead);
        default: return mixed<8>(from, units, ahead);
    }
}

// Of all threads' parts, each read by one of them.
inline uint32_t mixed_by(int threads, const char* from, int64_t units, int streams, int64_t ahead) {
    std::vector<Words> parts(threads);
    Pool::lead(threads, [&](Pool& pool) {
        pool.each(threads, [&](int, int t) {
            const int64_t first = units * t / threads, last = units * (t + 1) / threads;
            parts[t] = mixed(from + first * kUnit, last - first, streams, ahead);
        });
    });
    uint32_t all = 0;
    for (const Words& part : parts)
        for (int lane = 0; lane < kLanes; ++lane) all ^= part[lane];
    return all;
}

}  // namespace DYNEXIT_ISA
