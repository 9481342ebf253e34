#include "doom/sandbox/sandbox.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "doom/engine/engine_config.h"

// The interface is declared here because <linux/landlock.h> may be missing, or older
// than the running kernel.
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

namespace jaxfactory {
namespace {

using Rights = std::uint64_t;

constexpr unsigned kAskVersion = 1;
constexpr int kPathRule = 1;

constexpr Rights kExecute = 1 << 0, kWriteFile = 1 << 1, kReadFile = 1 << 2,
                 kReadFolder = 1 << 3, kRemoveFile = 1 << 5, kMakeFile = 1 << 8,
                 kTruncate = 1 << 14;
constexpr Rights kRead = kExecute | kReadFile | kReadFolder;
constexpr Rights kWrite =
    kReadFile | kReadFolder | kWriteFile | kRemoveFile | kMakeFile | kTruncate;
constexpr Rights kOfFiles = kExecute | kWriteFile | kReadFile | kTruncate;

struct Rules {
  Rights files = 0, network = 0, scopes = 0;
};

struct __attribute__((packed)) PathRule {
  Rights allowed = 0;
  std::int32_t folder = -1;
};

// All access rights that a version of the interface can restrict, and the size of its
// part of `Rules`.
Rules EverythingIn(int version, std::size_t* size) {
  constexpr std::array<Rights, 6> kCounts = {0, 13, 14, 15, 15, 16};
  Rules rules;
  rules.files = (Rights{1} << kCounts[version < 5 ? version : 5]) - 1;
  *size = sizeof(rules.files);
  if (version >= 4) {
    rules.network = 0b11;  // to bind and to connect TCP sockets
    *size = offsetof(Rules, scopes);
  }
  if (version >= 6) {
    rules.scopes = 0b11;  // sockets with abstract names, and signals
    *size = sizeof(Rules);
  }
  return rules;
}

}  // namespace

int LandlockVersion() {
  const long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, kAskVersion);
  return version > 0 ? static_cast<int>(version) : 0;
}

Sandbox::~Sandbox() {
  if (rules_ >= 0) close(rules_);
}

void Sandbox::Prepare(const std::vector<std::string>& readable,
                      const std::vector<std::string>& writable) {
  const int version = LandlockVersion();
  if (version == 0) return;
  std::size_t size = 0;
  const Rules everything = EverythingIn(version, &size);
  const long made = syscall(SYS_landlock_create_ruleset, &everything, size, 0);
  // The lowest descriptors are the child's standard streams and its library.
  rules_ = made < 0 ? -1 : fcntl(static_cast<int>(made), F_DUPFD_CLOEXEC, 10);
  const int error = errno;
  if (made >= 0) close(static_cast<int>(made));
  if (rules_ < 0) {
    throw EngineError(std::string("Cannot create the sandbox rules of an engine (") +
                      std::strerror(error) +
                      "); set JAXFACTORY_ENGINE_SANDBOX=off to run engines without "
                      "a sandbox.");
  }
  for (const std::string& path : readable) Allow(path, false, everything.files);
  for (const std::string& path : writable) Allow(path, true, everything.files);
}

void Sandbox::Allow(const std::string& path, bool write, unsigned long long handled) {
  const int fd = open(path.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) return;
  struct stat info{};
  PathRule rule;
  rule.allowed = (write ? kWrite : kRead) & handled;
  rule.folder = fd;
  if (fstat(fd, &info) == 0 && !S_ISDIR(info.st_mode)) rule.allowed &= kOfFiles;
  const long added = syscall(SYS_landlock_add_rule, rules_, kPathRule, &rule, 0);
  const int error = errno;
  close(fd);
  if (added != 0) {
    throw EngineError("Cannot let an engine use " + path + " (" + std::strerror(error) +
                      "); set JAXFACTORY_ENGINE_SANDBOX=off to run engines without "
                      "a sandbox.");
  }
}

bool Sandbox::Enter() const {
  return rules_ < 0 || syscall(SYS_landlock_restrict_self, rules_, 0) == 0;
}

}  // namespace jaxfactory
