// The process's threads for layers. The caller leads: it runs a program of phases, and the others help
// with the chunks of each. A helper that the system has put aside holds nobody up but in mid-chunk.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

class Pool {
  public:
    using Work = std::function<void(int thread, int chunk)>;

    // Throws std::runtime_error where the system starts no more threads.
    explicit Pool(int threads);
    ~Pool();

    // That a pool may have: some more than cores, for containers and tests.
    static int most_threads();
    int threads() const { return threads_; }

    // Runs `program` in the caller's thread, with a pool of so many threads to lead. One program at a
    // time in a process; others wait. Its work may not throw, and it only between two phases.
    static void lead(int threads, const std::function<void(Pool&)>& program);

    // A phase: `work(thread, chunk)` for every chunk, by whoever is free; returns when all are done. More
    // chunks than a ticket can count are several phases.
    void each(int chunks, const Work& work);

  private:
    // Which phase it is, how many chunks it has, and the next one that nobody has taken: one word, so
    // that a chunk can only be taken of the phase that it belongs to.
    struct Ticket {
        uint64_t word;
        uint32_t phase() const { return uint32_t(word >> 40); }
        int chunks() const { return int(word >> 20 & kMostChunks); }
        int next() const { return int(word & kMostChunks); }
        bool open() const { return next() < chunks(); }
    };
    static constexpr int kMostChunks = (1 << 20) - 1;

    void share_out(int first, int chunks, const Work& work);
    void stop();
    bool take(int thread);
    void help(int thread);

    const int threads_;
    std::vector<std::thread> helpers_;
    const Work* work_ = nullptr;
    int first_ = 0;  // chunk of the phase
    uint64_t phase_ = 0;
    alignas(64) std::atomic<uint64_t> ticket_{0};
    alignas(64) std::atomic<int> done_{0};
    alignas(64) std::atomic<unsigned> programs_{0};
    std::atomic<bool> running_{false}, stopping_{false};
};

struct Share {
    int first, last;
};

// Part t of `count` things among `parts`.
inline Share share(int count, int t, int parts) {
    return {int(int64_t(count) * t / parts), int(int64_t(count) * (t + 1) / parts)};
}
