// Zeroed memory for weights and caches, on huge pages where the system offers them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

class Memory {
  public:
    Memory() = default;

    // Throws std::bad_alloc.
    explicit Memory(size_t bytes) {
        const size_t unit = bytes >= kHugePage ? kHugePage : bytes >= kPage ? kPage : 64;
        bytes_ = (bytes + unit - 1) / unit * unit;
#if defined(__linux__)
        if (mapped()) {
            map();
            return;
        }
#endif
        at_ = static_cast<char*>(std::aligned_alloc(unit, bytes_));
        if (!at_) throw std::bad_alloc();
        std::memset(at_, 0, bytes_);
    }

    Memory(Memory&& other) noexcept { swap(other); }
    Memory& operator=(Memory&& other) noexcept {
        Memory taken(std::move(other));
        swap(taken);
        return *this;
    }
    ~Memory() {
#if defined(__linux__)
        if (mapped()) {
            munmap(at_, bytes_);
            return;
        }
#endif
        std::free(at_);
    }

    char* at() const { return at_; }
    size_t bytes() const { return bytes_; }

  private:
    static constexpr size_t kPage = size_t(1) << 16, kHugePage = size_t(1) << 21;

    bool mapped() const { return bytes_ >= kPage; }

#if defined(__linux__)
    // Straight from the system: what stays for long would break up a heap that others come and go in.
    void map() {
        const size_t unit = bytes_ >= kHugePage ? kHugePage : kPage, room = bytes_ + unit;
        void* found = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (found == MAP_FAILED) throw std::bad_alloc();
        char* start = static_cast<char*>(found);
        const size_t before = (unit - uintptr_t(start) % unit) % unit;
        at_ = start + before;
        if (before) munmap(start, before);
        munmap(at_ + bytes_, room - bytes_ - before);
        if (unit == kHugePage) madvise(at_, bytes_, MADV_HUGEPAGE);
    }
#endif

    void swap(Memory& other) noexcept {
        std::swap(at_, other.at_);
        std::swap(bytes_, other.bytes_);
    }

    char* at_ = nullptr;
    size_t bytes_ = 0;
};

// Lets go of a mapped file's pages, all that `bytes` from `at` on touch: whoever reads them again maps them again.
inline void let_go(const void* at, size_t bytes) {
#if defined(__linux__)
    const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE)), start = uintptr_t(at) / page * page;
    madvise(reinterpret_cast<void*>(start), uintptr_t(at) + bytes - start, MADV_DONTNEED);
#else
    (void)at, (void)bytes;
#endif
}

// Memory for pieces that all go when it does. Small ones share huge pages.
class Arena {
  public:
    // Zeroed, at a cache line. Throws std::bad_alloc.
    char* take(size_t bytes) {
        bytes = (bytes + 63) / 64 * 64;
        if (bytes > left_) {
            chunks_.emplace_back(std::max(bytes, kChunk));
            at_ = chunks_.back().at();
            left_ = chunks_.back().bytes();
        }
        left_ -= bytes;
        return std::exchange(at_, at_ + bytes);
    }

  private:
#if defined(__linux__)
    static constexpr size_t kChunk = size_t(1) << 26;  // what is not touched takes no memory
#else
    static constexpr size_t kChunk = 0;
#endif
    std::vector<Memory> chunks_;
    char* at_ = nullptr;
    size_t left_ = 0;
};
