// Nearest-neighbor resizing of interleaved images, directly into the batch.
#ifndef JAXFACTORY_DOOM_FRAME_H_
#define JAXFACTORY_DOOM_FRAME_H_

#include <cstdint>
#include <vector>

namespace jaxfactory {

// Resizes images of one size to another, taking source pixel
// (floor(y * source_height / height), floor(x * source_width / width)).
class Resizer {
 public:
  // `channels` of each source pixel are copied into pixels of `stride` channels, so
  // that several buffers can be interleaved into one image.
  Resizer(int source_width, int source_height, int width, int height, int channels,
          int stride);

  // Writes to `out`, which is the first of this image's channels.
  void operator()(const std::uint8_t* source, std::uint8_t* out) const;

  // The same, pixel by pixel: the reference for tests of the fast path.
  void Reference(const std::uint8_t* source, std::uint8_t* out) const;

 private:
  // Sixteen output bytes of a row, gathered from 32 source bytes.
  struct Block {
    int source = 0, out = 0;
    std::uint8_t low[16], high[16];
  };

  void PlanBlocks();
  void Shuffle(const std::uint8_t* source, std::uint8_t* out) const;

  int source_width_, source_height_, width_, height_, channels_, stride_;
  std::vector<int> columns_;  // source byte of each output pixel, in its row
  std::vector<int> rows_;     // source row of each output row
  std::vector<Block> blocks_;
  bool shuffles_ = false;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_FRAME_H_
