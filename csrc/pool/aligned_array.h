// One aligned allocation that the environments write into and the caller reads from.
#ifndef JAXFACTORY_POOL_ALIGNED_ARRAY_H_
#define JAXFACTORY_POOL_ALIGNED_ARRAY_H_

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace jaxfactory {

// Zeroed elements of type T, aligned to `kAlignment` bytes (which lets JAX read them in
// place on the CPU).
template <typename T>
class AlignedArray {
 public:
  static constexpr std::size_t kAlignment = 4096;

  AlignedArray() = default;
  explicit AlignedArray(std::size_t size) : size_(size) {
    const std::size_t bytes =
        (std::max<std::size_t>(size, 1) * sizeof(T) + kAlignment - 1) / kAlignment *
        kAlignment;
    data_.reset(static_cast<T*>(std::aligned_alloc(kAlignment, bytes)));
    if (!data_) throw std::bad_alloc();
    std::fill_n(data_.get(), size, T{});
  }

  T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T[], Free> data_;
  std::size_t size_ = 0;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_ALIGNED_ARRAY_H_
