#include "doom/engine/engine_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "doom/engine/engine_config.h"
#include "doom/engine/engine_names.h"

namespace jaxfactory {
namespace {

using protocol::GameState;
using protocol::InputState;

// The largest screen of ViZDoom, with all buffers, takes a tenth of this.
constexpr std::size_t kLargest = std::size_t{1} << 30;

// The reason to reject a file in /dev/shm as the engine's segment; empty if valid.
std::string Objection(const struct stat& info) {
  if (!S_ISREG(info.st_mode)) return "is not a regular file";
  if (info.st_uid != geteuid()) {
    return "belongs to user " + std::to_string(info.st_uid);
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return "can be written by other users";
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size < sizeof(GameState) || size > kLargest) {
    return "has " + std::to_string(info.st_size) + " bytes";
  }
  return {};
}

[[noreturn]] void Refuse(const std::string& name, const std::string& objection) {
  throw EngineError("The engine's shared memory /dev/shm/" + name + " " + objection +
                    ", so it cannot be trusted; start again, and if that does not help "
                    "find out which other program writes to /dev/shm.");
}

// Makes the pages of a part exist: where /dev/shm is full, even reading a page that was
// never written ends the process.
void Reserve(int fd, std::size_t begin, std::size_t size) {
  if (size == 0) return;
  if (fallocate(fd, 0, static_cast<off_t>(begin), static_cast<off_t>(size)) == 0) {
    return;
  }
  if (errno == ENOSPC || errno == ENOMEM) {
    throw EngineError(std::string("/dev/shm is too full for an engine's screen and "
                                  "state; ") +
                      kMoreSharedMemory);
  }
}

// Closes a descriptor.
struct Descriptor {
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  int number;
};

}  // namespace

std::string Printable(const char* text, std::size_t size) {
  std::string shown(text, strnlen(text, size));
  for (char& c : shown) {
    if (c < ' ' || c > '~') c = '?';
  }
  return shown;
}

EngineSegment::~EngineSegment() {
  if (memory_ != nullptr) munmap(memory_, size_);
}

void EngineSegment::Open(const std::string& name) {
  // Follows no link.
  const int fd = shm_open(("/" + name).c_str(), O_RDWR | O_NONBLOCK, 0);
  if (fd < 0 && errno == ENOENT) {
    throw EngineError("The engine made no shared memory segment; is /dev/shm full?");
  }
  const Descriptor descriptor{fd};
  struct stat info{};
  if (fd < 0 || fstat(fd, &info) != 0) {
    const std::string reason = std::strerror(errno);
    Refuse(name, "cannot be opened (" + reason + ")");
  }
  const std::string objection = Objection(info);
  if (!objection.empty()) Refuse(name, objection);
  // The lists in the middle of the state are not read.
  constexpr std::size_t kLists = offsetof(GameState, labels);
  constexpr std::size_t kBehind = offsetof(GameState, player_hit_count);
  Reserve(fd, 0, kLists);
  Reserve(fd, kBehind, sizeof(GameState) - kBehind);
  const auto size = static_cast<std::size_t>(info.st_size);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    throw EngineError("Cannot map the engine's shared memory.");
  }
  memory_ = static_cast<std::uint8_t*>(memory);
  size_ = size;
  CheckRegions(name, fd);
}

void EngineSegment::CheckRegions(const std::string& name, int fd) {
  // A copy: what is checked must be what is used.
  struct {
    unsigned version;
    char version_text[sizeof(GameState::version_text)];
    std::size_t size;
    std::size_t offset[protocol::kRegions], length[protocol::kRegions];
  } header;
  const GameState& shared = state();
  header.version = shared.version;
  header.size = shared.segment_size;
  std::memcpy(header.version_text, shared.version_text, sizeof(header.version_text));
  std::memcpy(header.offset, shared.region_offset, sizeof(header.offset));
  std::memcpy(header.length, shared.region_size, sizeof(header.length));
  std::atomic_signal_fence(std::memory_order_seq_cst);  // nor may the compiler reread

  if (header.version != protocol::kEngineVersion || header.size != size_ ||
      header.length[protocol::kStateRegion] != sizeof(GameState) ||
      header.length[protocol::kInputRegion] != sizeof(InputState)) {
    throw EngineError("The ViZDoom engine reports version " +
                      Printable(header.version_text, sizeof(header.version_text)) +
                      ", but this build needs version " + protocol::kEngineVersionText +
                      "; install vizdoom==" + protocol::kEngineVersionText + ".");
  }
  for (int i = 0; i < protocol::kRegions; ++i) {
    const std::size_t offset = header.offset[i], length = header.length[i];
    if (offset > size_ || length > size_ - offset) {
      Refuse(name, "has a region that ends outside of it");
    }
    if (i != protocol::kStateRegion && i != protocol::kAudioRegion) {
      Reserve(fd, offset, length);
    }
    offsets_[i] = offset;
    sizes_[i] = length;
  }
  // The state is at the start of the segment, and the regions must not overlap.
  if (offsets_[protocol::kStateRegion] != 0 ||
      offsets_[protocol::kInputRegion] < sizeof(GameState) ||
      offsets_[protocol::kInputRegion] % alignof(InputState) != 0) {
    Refuse(name, "has a region at an invalid place");
  }
  input_ = reinterpret_cast<InputState*>(memory_ + offsets_[protocol::kInputRegion]);
}

}  // namespace jaxfactory
