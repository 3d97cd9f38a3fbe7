#include "pool.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

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

// The process's pool, never destroyed at exit: its threads may be asleep in it. A forked process has
// none of its threads, so it begins without a pool; a fork waits until a program is over, or the child
// would wait for it forever.
std::mutex one_at_a_time;
Pool* the_pool = nullptr;

void before_fork() { one_at_a_time.lock(); }
void after_fork() { one_at_a_time.unlock(); }
void in_child() {
    the_pool = nullptr;
    new (&one_at_a_time) std::mutex;
}

[[maybe_unused]] const int watching_forks = pthread_atfork(before_fork, after_fork, in_child);

}  // namespace

int Pool::most_threads() { return std::max(16, 4 * int(std::thread::hardware_concurrency())); }

Pool::Pool(int threads) : threads_(threads) {
    helpers_.reserve(threads);
    try {
        for (int t = 1; t < threads; ++t) helpers_.emplace_back([this, t] { help(t); });
    } catch (const std::system_error&) {
        stop();
        throw std::runtime_error("the system starts no " + std::to_string(threads) + " threads: use fewer.");
    }
}

Pool::~Pool() { stop(); }

void Pool::stop() {
    stopping_ = true;
    programs_.fetch_add(1);
    programs_.notify_all();
    for (auto& helper : helpers_) helper.join();
}

void Pool::lead(int threads, const std::function<void(Pool&)>& program) {
    const std::lock_guard<std::mutex> lock(one_at_a_time);
    if (the_pool && the_pool->threads() != threads) {
        delete the_pool;
        the_pool = nullptr;
    }
    if (!the_pool) the_pool = new Pool(threads);
    struct Running {
        std::atomic<bool>& flag;
        ~Running() { flag.store(false, std::memory_order_release); }
    } running{the_pool->running_};
    if (threads > 1) {
        running.flag.store(true, std::memory_order_release);
        the_pool->programs_.fetch_add(1, std::memory_order_release);
        the_pool->programs_.notify_all();
    }
    program(*the_pool);
}

void Pool::each(int chunks, const Work& work) {
    if (chunks <= 1 || threads_ == 1) {
        for (int chunk = 0; chunk < chunks; ++chunk) work(0, chunk);
        return;
    }
    for (int first = 0; first < chunks; first += kMostChunks)
        share_out(first, std::min(chunks - first, kMostChunks), work);
}

void Pool::share_out(int first, int chunks, const Work& work) {
    work_ = &work;
    first_ = first;
    done_.store(0, std::memory_order_relaxed);
    ticket_.store(++phase_ << 40 | uint64_t(chunks) << 20 | 1, std::memory_order_release);
    int mine = 1;  // the first chunk is the leader's from the start
    for (work(0, first); take(0); ++mine) continue;
    for (int looks = 0; done_.load(std::memory_order_acquire) < chunks - mine; ++looks) wait_a_little(looks);
}

// Takes a chunk and runs it; false where none is left. While a chunk that was taken is not done, the
// phase cannot end, so `work_` is the phase's.
bool Pool::take(int thread) {
    Ticket ticket{ticket_.load(std::memory_order_acquire)};
    while (ticket.open())
        if (ticket_.compare_exchange_weak(ticket.word, ticket.word + 1, std::memory_order_acq_rel)) {
            (*work_)(thread, first_ + ticket.next());
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
