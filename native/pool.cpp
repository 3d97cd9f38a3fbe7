#include "pool.h"

#include <unistd.h>

#include <algorithm>
#include <mutex>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr int kPolite = 1 << 12;   // looks at a phase's end before the leader offers its core to others
constexpr int kPatient = 1 << 14;  // looks for a program before a helper sleeps

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("isb");  // `yield` takes next to no time
#endif
}

void wait_a_little(int looks) { looks < kPolite ? relax() : std::this_thread::yield(); }

}  // namespace

Pool::Pool(int threads) : threads_(threads) {
    for (int t = 1; t < threads; ++t) helpers_.emplace_back([this, t] { help(t); });
}

Pool::~Pool() {
    stopping_ = true;
    programs_.fetch_add(1);
    programs_.notify_all();
    for (auto& helper : helpers_) helper.join();
}

void Pool::lead(int threads, const std::function<void(Pool&)>& program) {
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
    if (threads > 1) {
        pool->running_.store(true, std::memory_order_release);
        pool->programs_.fetch_add(1, std::memory_order_release);
        pool->programs_.notify_all();
    }
    program(*pool);
    pool->running_.store(false, std::memory_order_release);
}

void Pool::each(int chunks, const Work& work) {
    if (chunks <= 1 || threads_ == 1) {
        for (int chunk = 0; chunk < chunks; ++chunk) work(0, chunk);
        return;
    }
    work_ = &work;
    done_.store(0, std::memory_order_relaxed);
    ticket_.store(++phase_ << 40 | uint64_t(chunks) << 20 | 1, std::memory_order_release);
    int mine = 1;  // the first chunk is the leader's from the start
    for (work(0, 0); take(0); ++mine) continue;
    for (int looks = 0; done_.load(std::memory_order_acquire) < chunks - mine; ++looks) wait_a_little(looks);
}

// Takes a chunk and runs it; false where none is left. While a chunk that was taken is not done, the
// phase cannot end, so `work_` is the phase's.
bool Pool::take(int thread) {
    Ticket ticket{ticket_.load(std::memory_order_acquire)};
    while (ticket.open())
        if (ticket_.compare_exchange_weak(ticket.word, ticket.word + 1, std::memory_order_acq_rel)) {
            (*work_)(thread, ticket.next());
            if (thread != 0) done_.fetch_add(1, std::memory_order_release);
            return true;
        }
    return false;
}

void Pool::help(int thread) {
    for (unsigned seen = 0;;) {
        for (int looks = 0; programs_.load(std::memory_order_acquire) == seen; ++looks)
            looks < kPatient ? relax() : programs_.wait(seen, std::memory_order_acquire);
        seen = programs_.load(std::memory_order_acquire);
        if (stopping_) return;
        for (int looks = 0; running_.load(std::memory_order_acquire); take(thread) ? looks = 0 : ++looks)
            if (looks) wait_a_little(looks);
    }
}
