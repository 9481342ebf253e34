// Places in matrices, and cutting ranges into blocks.
#ifndef JAXFACTORY_KERNELS_BLOCKS_H_
#define JAXFACTORY_KERNELS_BLOCKS_H_

#include <algorithm>
#include <cstddef>

#include "kernels/chunks.h"

namespace jaxfactory {

// Where a row of a matrix begins.
inline std::ptrdiff_t At(int row, int columns) {
  return static_cast<std::ptrdiff_t>(row) * columns;
}

// Cuts `count` into blocks of equal size, at most `most`; the last one overlaps the
// previous one instead of being shorter.
template <typename Action>
void ForBlocks(int count, int most, Action&& action) {
  const Chunks chunks(count, most);
  for (int block = 0; block < chunks.count(); ++block) {
    action(chunks.Start(block), chunks.size());
  }
}

// The same with a shorter last block, for results that are accumulated.
template <typename Action>
void ForParts(int count, int most, Action&& action) {
  const int blocks = (count + most - 1) / most;
  const int size = (count + blocks - 1) / blocks;
  for (int start = 0; start < count; start += size) {
    action(start, std::min(size, count - start));
  }
}

// Iterates over columns, two vectors at a time if possible.
template <typename Action>
void ForVectors(int columns, int lanes, Action&& action) {
  for (int start = 0; start < columns;) {
    const int vectors = columns - start >= 2 * lanes ? 2 : 1;
    action(start, vectors);
    start += vectors * lanes;
  }
}

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_BLOCKS_H_
