// Zeroed memory for weights and caches, on huge pages where the system offers them.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

class Memory {
  public:
    Memory() = default;

    // Throws std::bad_alloc.
    explicit Memory(size_t bytes) {
        constexpr size_t kHugePage = size_t(1) << 21;
        const size_t unit = bytes >= kHugePage ? kHugePage : 64;
        bytes_ = (bytes + unit - 1) / unit * unit;
        at_ = static_cast<char*>(std::aligned_alloc(unit, bytes_));
        if (!at_) throw std::bad_alloc();
#if defined(__linux__)
        if (unit == kHugePage) madvise(at_, bytes_, MADV_HUGEPAGE);
#endif
        std::memset(at_, 0, bytes_);
    }

    Memory(Memory&& other) noexcept { swap(other); }
    Memory& operator=(Memory&& other) noexcept {
        Memory taken(std::move(other));
        swap(taken);
        return *this;
    }
    ~Memory() { std::free(at_); }

    char* at() const { return at_; }
    size_t bytes() const { return bytes_; }

  private:
    void swap(Memory& other) noexcept {
        std::swap(at_, other.at_);
        std::swap(bytes_, other.bytes_);
    }

    char* at_ = nullptr;
    size_t bytes_ = 0;
};
