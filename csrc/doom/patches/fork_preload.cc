// A small library that is preloaded into a fork server; see fork_server.h.
//
// It replaces `shm_open`. An engine calls it for the first time when it has read its
// command line, its resources and its scripts, and before it starts the level. There
// the server waits for requests and forks. Each child becomes an engine of its own: its
// shared memory has the requested name instead of that of the command line, and its
// random numbers the requested seed. All other state is that of an engine that was
// started with this seed, as the engine seeds its generators again when the level
// starts.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "doom/patches/fork_protocol.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

using namespace jaxfactory::fork_protocol;  // NOLINT(google-build-using-namespace)

constexpr int kMostFiles = 64;
constexpr std::size_t kMostSeeds = 8;
// The seed of the current level and the one of the command line.
constexpr std::size_t kSeeds = 2;

// A file that the engine reads from. Its offset is shared between a process and its
// children, so each child opens the file again.
struct OpenFile {
  int fd;
  char path[PATH_MAX];
  dev_t device;
  ino_t inode;
};

char own_id[kIdLength];  // of the command line, then of this engine
char command_line_id[kIdLength];
OpenFile files[kMostFiles];
int file_count = 0;
std::uint32_t* seeds[kMostSeeds];
std::size_t seed_count = 0;

// The places of the seed in the executable's variables.
void FindSeeds(std::uint32_t seed) {
  const auto look = [](dl_phdr_info* info, std::size_t, void* wanted) {
    const std::uint32_t value = *static_cast<std::uint32_t*>(wanted);
    for (std::size_t i = 0; i < info->dlpi_phnum; ++i) {
      const auto& part = info->dlpi_phdr[i];
      constexpr unsigned kWritable = PF_R | PF_W;
      if (part.p_type != PT_LOAD || (part.p_flags & kWritable) != kWritable) continue;
      auto* const begin =
          reinterpret_cast<std::uint32_t*>((info->dlpi_addr + part.p_vaddr + 3) & ~3UL);
      auto* const end = reinterpret_cast<std::uint32_t*>(
          (info->dlpi_addr + part.p_vaddr + part.p_memsz) & ~3UL);
      for (auto* place = begin; place < end; ++place) {
        if (*place != value) continue;
        if (seed_count < kMostSeeds) seeds[seed_count] = place;
        ++seed_count;
      }
    }
    return 1;  // only the executable, which comes first
  };
  dl_iterate_phdr(look, &seed);
}

// Lists the files; returns false if one of them cannot be opened again.
bool FindFiles() {
  constexpr int kMostDescriptors = 1024;
  for (int fd = kControl + 1; fd < kMostDescriptors; ++fd) {
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY || file_count == kMostFiles) {
      return false;
    }
    OpenFile& file = files[file_count++];
    char link[32] = "/proc/self/fd/";
    char digits[8];
    int count = 0;
    for (int rest = fd; rest > 0; rest /= 10) {
      digits[count++] = static_cast<char>('0' + rest % 10);
    }
    char* end = link + std::strlen(link);
    while (count > 0) *end++ = digits[--count];
    *end = '\0';
    const ssize_t length = readlink(link, file.path, sizeof(file.path) - 1);
    if (length <= 0) return false;
    file.path[length] = '\0';
    file.fd = fd;
    file.device = info.st_dev;
    file.inode = info.st_ino;
  }
  return true;
}

// Whether all files are still those that the engine has opened: they may have been
// replaced since, by another version.
bool FilesAreThere() {
  for (int i = 0; i < file_count; ++i) {
    struct stat info;
    if (stat(files[i].path, &info) != 0 || info.st_dev != files[i].device ||
        info.st_ino != files[i].inode) {
      return false;
    }
  }
  return true;
}

// Opens the file again, at the same offset.
bool Reopen(const OpenFile& file) {
  const int fd = open(file.path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  struct stat info;
  const off_t offset = lseek(file.fd, 0, SEEK_CUR);
  const bool same = fstat(fd, &info) == 0 && info.st_dev == file.device &&
                    info.st_ino == file.inode && offset >= 0 &&
                    lseek(fd, offset, SEEK_SET) == offset;
  const bool done = same && dup3(fd, file.fd, O_CLOEXEC) == file.fd;
  close(fd);
  return done;
}

// In the child.
void Become(const Request& request, pid_t parent) {
  // As for an engine that is started directly. If the parent has died since, nobody
  // would end this process.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  close(kLibrary);
  close(kControl);
  for (int i = 0; i < file_count; ++i) {
    if (!Reopen(files[i])) _exit(1);
  }
  for (std::size_t i = 0; i < seed_count; ++i) *seeds[i] = request.seed;
  std::memcpy(own_id, request.id, kIdLength);
}

bool Send(std::int32_t pid) {
  const Reply reply{pid};
  return write(kControl, &reply, sizeof(reply)) == sizeof(reply);
}

// Answers requests until the controller closes the socket. Returns in each child.
void Serve(std::uint32_t seed) {
  const pid_t parent = getppid();
  FindSeeds(seed);
  const bool ready = seed_count == kSeeds && FindFiles();
  if (!Send(ready ? kReady : kFailed) || !ready) _exit(0);
  Request request;
  while (read(kControl, &request, sizeof(request)) == sizeof(request)) {
    if (!FilesAreThere()) break;
    // A child of this process's parent, which can then wait for it. The C library's
    // `fork` has no such option.
    const long child = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) return Become(request, parent);
    if (!Send(child > 0 ? static_cast<std::int32_t>(child) : kFailed)) break;
  }
  _exit(0);
}

// On the first call in the server, waits for the requests.
void ServeOnce() {
  static bool served = false;
  if (served) return;
  served = true;
  const char* const text = std::getenv(kVariable);
  if (text == nullptr || std::strlen(text) <= kIdLength) return;
  std::memcpy(command_line_id, text, kIdLength);
  Serve(static_cast<std::uint32_t>(std::strtoul(text + kIdLength, nullptr, 10)));
}

}  // namespace

EXPORTED int shm_open(const char* name, int flags, mode_t mode) {
  using Open = int(const char*, int, mode_t);
  static auto* const original = reinterpret_cast<Open*>(dlsym(RTLD_NEXT, "shm_open"));
  ServeOnce();
  char wanted[NAME_MAX + 2];
  const std::size_t length = std::strlen(name);
  if (original == nullptr || length >= sizeof(wanted)) {
    errno = ENOSYS;
    return -1;
  }
  std::memcpy(wanted, name, length + 1);
  if (length >= kIdLength) {
    char* const id = wanted + length - kIdLength;
    if (std::memcmp(id, command_line_id, kIdLength) == 0) {
      std::memcpy(id, own_id, kIdLength);
    }
  }
  return original(wanted, flags, mode);
}
