// The process's threads for layers: a few that wait for work by spinning a while, since in decoding
// the next segment follows at once, and then sleep.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

class Pool {
  public:
    explicit Pool(int threads);
    ~Pool();
    int threads() const { return threads_; }

    // Runs `work(pool, t)` for t = 0 .. threads - 1, t = 0 in the caller's thread, and returns when all
    // are done. One call at a time in a process; others wait. `work` must not throw.
    static void run(int threads, const std::function<void(Pool&, int)>& work);

    // Waits inside `work` until every thread is here.
    void barrier();

  private:
    void serve(int t);
    void execute(const std::function<void(Pool&, int)>& work);

    const int threads_;
    std::vector<std::thread> workers_;
    const std::function<void(Pool&, int)>* work_ = nullptr;
    alignas(64) std::atomic<unsigned> begun_{0};
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> phase_{0};
    std::atomic<bool> stopping_{false};
};

struct Share {
    int first, last;
};

// Part t of `count` things among `parts`.
inline Share share(int count, int t, int parts) {
    return {int(int64_t(count) * t / parts), int(int64_t(count) * (t + 1) / parts)};
}
