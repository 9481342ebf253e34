// The memory that an engine creates and shares with its controller.
#ifndef JAXFACTORY_DOOM_ENGINE_ENGINE_SEGMENT_H_
#define JAXFACTORY_DOOM_ENGINE_ENGINE_SEGMENT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "doom/engine/engine_protocol.h"

namespace jaxfactory {

// Maps the segment. Its contents are untrusted, because a map or a script may have
// compromised the engine: the regions' offsets are read once, checked, and stored here.
class EngineSegment {
 public:
  EngineSegment() = default;
  ~EngineSegment();
  EngineSegment(const EngineSegment&) = delete;
  EngineSegment& operator=(const EngineSegment&) = delete;

  // Throws EngineError if the segment is missing, writable by other users or of another
  // version, if a region is outside of it, or if /dev/shm is too full for what of it is
  // read and written here.
  void Open(const std::string& name);
  bool open() const { return memory_ != nullptr; }

  const protocol::GameState& state() const {
    return *reinterpret_cast<const protocol::GameState*>(memory_);
  }
  protocol::InputState& input() { return *input_; }
  // Has `region_size` bytes; 0 if the engine does not have this region.
  const std::uint8_t* region(protocol::Region region) const {
    return memory_ + offsets_[region];
  }
  std::size_t region_size(protocol::Region region) const { return sizes_[region]; }

 private:
  void CheckRegions(const std::string& name, int fd);

  std::uint8_t* memory_ = nullptr;
  std::size_t size_ = 0;
  std::array<std::size_t, protocol::kRegions> offsets_{}, sizes_{};
  protocol::InputState* input_ = nullptr;
};

// An engine's text as printable ASCII, safe to show.
std::string Printable(const char* text, std::size_t size);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_ENGINE_SEGMENT_H_
