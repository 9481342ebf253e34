// Cutting an axis into chunks of equal size.
#ifndef JAXFACTORY_KERNELS_CHUNKS_H_
#define JAXFACTORY_KERNELS_CHUNKS_H_

#include <algorithm>

namespace jaxfactory {

constexpr int kTileRows = 16;  // also a tile's pairs or float32 values in a row

// All chunks have one size, at most `most`: the sizes of tiles, for example, are set
// for a whole product. So the last one may begin with some that the one before it
// contains.
class Chunks {
 public:
  explicit Chunks(int total, int most = kTileRows)
      : total_(total),
        count_((total + most - 1) / most),
        size_((total + count_ - 1) / count_) {}

  int count() const { return count_; }
  int size() const { return size_; }
  int Start(int chunk) const { return std::min(chunk * size_, total_ - size_); }
  // How many at the beginning of a chunk belong to the one before it.
  int Repeated(int chunk) const { return chunk * size_ - Start(chunk); }

 private:
  int total_, count_, size_;
};

// The largest size of chunks that fill an axis without a rest.
inline int ExactChunk(int total) {
  int size = std::min(total, kTileRows);
  while (total % size != 0) --size;
  return size;
}

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_CHUNKS_H_
