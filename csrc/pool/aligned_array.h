// One aligned allocation that the environments write into and the caller reads from.
#ifndef JAXFACTORY_POOL_ALIGNED_ARRAY_H_
#define JAXFACTORY_POOL_ALIGNED_ARRAY_H_

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace jaxfactory {

// Zeroed elements of type T, aligned to `kAlignment` bytes (which lets JAX read them in
// place on the CPU). A page is taken from the memory near the core of the thread that
// writes it first, which is the worker of its environments.
template <typename T>
class AlignedArray {
 public:
  static constexpr std::size_t kAlignment = 4096;

  AlignedArray() = default;
  explicit AlignedArray(std::size_t size) : size_(size) {
    const std::size_t bytes =
        (std::max<std::size_t>(size, 1) * sizeof(T) + kAlignment - 1) / kAlignment *
        kAlignment;
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    data_ = {static_cast<T*>(memory), Unmap{bytes}};
  }

  T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Unmap {
    std::size_t bytes = 0;
    void operator()(T* memory) const { munmap(memory, bytes); }
  };
  std::unique_ptr<T[], Unmap> data_;
  std::size_t size_ = 0;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_ALIGNED_ARRAY_H_
