#include "doom/engine/engine_names.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <random>
#include <string_view>

#include "doom/engine/engine_config.h"

namespace jaxfactory {
namespace {

constexpr char kFolder[] = "/dev/shm";
constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kIdPrefix = "jx";
constexpr std::size_t kIdLength = 10;
// An engine's queues take 50 KB; the rest is for those that others make meanwhile.
constexpr std::uint64_t kLeastFree = 1 << 20;

// The instance id in a name in /dev/shm; empty if it is not one of this library's.
std::string IdOf(std::string_view name) {
  for (const std::string_view base :
       {std::string_view(kToEngineName), std::string_view(kFromEngineName),
        std::string_view(kSegmentName)}) {
    if (!name.starts_with(base)) continue;
    const std::string_view id = name.substr(base.size());
    if (id.size() != kIdLength || !id.starts_with(kIdPrefix) ||
        id.find_first_not_of(kDigits) != std::string_view::npos) {
      return {};
    }
    return std::string(id);
  }
  return {};
}

int OpenQueue(const std::string& id) {
  // O_NONBLOCK: opening a pipe of that name would block.
  return shm_open((std::string("/") + kToEngineName + id).c_str(),
                  O_RDONLY | O_NONBLOCK, 0);
}

void RemoveNamesOf(const std::string& id) {
  for (const char* base : {kFromEngineName, kSegmentName, kToEngineName}) {
    RemoveOwnName(base + id);
  }
}

}  // namespace

void RequireSharedMemory() {
  struct statvfs info{};
  // Without a limit of its size, it reports no blocks.
  if (statvfs(kFolder, &info) != 0 || info.f_blocks == 0) return;
  if (info.f_bavail * info.f_frsize >= kLeastFree) return;
  throw EngineError("/dev/shm, of " +
                    std::to_string((info.f_blocks * info.f_frsize) >> 20) +
                    " MB, is full, so no engine can start; " + kMoreSharedMemory);
}

std::string RandomInstanceId() {
  std::array<std::uint8_t, 64> bytes{};
  std::string id(kIdPrefix);
  while (id.size() < kIdLength) {
    if (getrandom(bytes.data(), bytes.size(), 0) !=
        static_cast<ssize_t>(bytes.size())) {
      std::random_device device;
      for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(device());
    }
    for (const std::uint8_t byte : bytes) {
      // 252 is 7 x 36; larger values would make some digits more likely.
      if (byte < 252 && id.size() < kIdLength) id.push_back(kDigits[byte % 36]);
    }
  }
  return id;
}

IdLock::~IdLock() { Release(); }

bool IdLock::Take(const std::string& id) {
  Release();
  fd_ = OpenQueue(id);
  struct stat info{};
  if (fd_ >= 0 && flock(fd_, LOCK_EX | LOCK_NB) == 0 && fstat(fd_, &info) == 0 &&
      info.st_nlink > 0) {
    return true;
  }
  Release();
  return false;
}

void IdLock::Release() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void RemoveOwnName(const std::string& name) {
  const std::string path = kFolder + ("/" + name);
  struct stat info{};
  // Not opened: an engine may have put a link or anything else there.
  if (lstat(path.c_str(), &info) == 0 && info.st_uid == geteuid()) {
    unlink(path.c_str());
  }
}

void RemoveStaleNames() {
  DIR* folder = opendir(kFolder);
  if (folder == nullptr) return;
  while (const dirent* entry = readdir(folder)) {
    const std::string id = IdOf(entry->d_name);
    if (id.empty()) continue;
    const int queue = OpenQueue(id);
    // The queue is removed last, so without it nobody uses the other names. They are
    // removed under its lock: a process that has created the queue but not yet locked
    // it finds it gone and creates another one.
    if (queue < 0 ? errno == ENOENT : flock(queue, LOCK_EX | LOCK_NB) == 0) {
      RemoveNamesOf(id);
    }
    if (queue >= 0) close(queue);
  }
  closedir(folder);
}

}  // namespace jaxfactory
