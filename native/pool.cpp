#include "pool.h"

#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr int kPolite = 1 << 12;   // spins inside a segment before a thread offers its core to others
constexpr int kPatient = 1 << 14;  // spins between segments before it sleeps

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

Pool::Pool(int threads) : threads_(threads) {
    for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { serve(t); });
}

Pool::~Pool() {
    stopping_ = true;
    begun_.fetch_add(1);
    begun_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void Pool::run(int threads, const std::function<void(Pool&, int)>& work) {
    static std::mutex one_at_a_time;
    static Pool* pool = nullptr;  // never destroyed at exit: its threads may be asleep in it
    static pid_t owner = 0;
    const std::lock_guard<std::mutex> lock(one_at_a_time);
    if (pool && (owner != getpid() || pool->threads() != threads)) {
        if (owner == getpid()) delete pool;  // after a fork, its threads are not ours
        pool = nullptr;
    }
    if (!pool) {
        pool = new Pool(threads);
        owner = getpid();
    }
    pool->execute(work);
}

void Pool::execute(const std::function<void(Pool&, int)>& work) {
    work_ = &work;
    if (threads_ > 1) {
        begun_.fetch_add(1, std::memory_order_release);
        begun_.notify_all();
    }
    work(*this, 0);
    barrier();
}

void Pool::barrier() {
    if (threads_ == 1) return;
    const unsigned phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
        arrived_.store(0, std::memory_order_relaxed);
        phase_.store(phase + 1, std::memory_order_release);
        return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins)
        spins < kPolite ? relax() : std::this_thread::yield();
}

void Pool::serve(int t) {
    for (unsigned seen = 0;; ++seen) {
        for (int spins = 0; begun_.load(std::memory_order_acquire) == seen; ++spins)
            spins < kPatient ? relax() : begun_.wait(seen, std::memory_order_acquire);
        if (stopping_) return;
        (*work_)(*this, t);
        barrier();
    }
}
