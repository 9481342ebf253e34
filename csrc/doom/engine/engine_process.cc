#include "doom/engine/engine_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>

#include "doom/patches/fork_protocol.h"
#include "doom/sandbox/sandbox.h"
#include "doom/sandbox/syscall_filter.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

namespace jaxfactory {
namespace {

// The descriptor of the library that the child preloads. LD_PRELOAD cannot take every
// path: the dynamic linker splits it at spaces and colons.
using fork_protocol::kLibrary;
static_assert(kLibrary == 3);
constexpr char kPreload[] = "LD_PRELOAD=/proc/self/fd/3";
// If set, the library of a match's engines exits with `kLoaded` as soon as it loads.
constexpr char kAskLibrary[] = "JAXFACTORY_PRELOAD_PROBE=1";

// The argument array for exec; valid as long as the words are.
std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The library's open file; -1 if none is configured.
class Library {
 public:
  explicit Library(const std::string& path) {
    if (path.empty()) return;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    // Above the descriptors that the child replaces.
    fd_ = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 10);
    const int error = errno;
    if (fd >= 0) close(fd);
    if (fd_ < 0) {
      throw EngineError("Cannot read " + path + " (" + std::strerror(error) +
                        "); without it the engines of a match would listen on all "
                        "network addresses; reinstall jaxfactory.");
    }
  }
  ~Library() {
    if (fd_ >= 0) close(fd_);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

// Waits for a process to end, or kills it after a while; returns its status.
int WaitForEnd(pid_t pid) {
  using std::chrono::steady_clock;
  const auto limit = steady_clock::now() + std::chrono::seconds(10);
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (steady_clock::now() > limit) {
      EndProcess(pid);
      return SIGKILL;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return status;
}

}  // namespace

pid_t StartProcess(const EngineConfig& config, std::vector<std::string> words,
                   std::vector<std::string> environment, const Inherited& inherited) {
  const Library library(inherited.library);
  if (library.fd() >= 0) environment.emplace_back(kPreload);
  Sandbox sandbox;
  SyscallFilter filter;
  if (config.confined) {
    sandbox.Prepare(config.readable, config.writable);
    filter.Prepare(config.udp);
  }
  const std::vector<char*> argv = Pointers(words);
  const std::vector<char*> envp = Pointers(environment);

  const pid_t parent = getpid();
  const char* const directory = config.directory.c_str();
  struct sigaction standard{};
  standard.sa_handler = SIG_DFL;
  const rlimit no_core{};
  sigset_t all, before, none;
  sigfillset(&all);
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  // Not fork: it runs the handlers that libraries registered (OpenBLAS and others stop
  // and start their threads there), which can deadlock when several threads fork at
  // once, and it copies the page tables of a large process. The child shares this
  // process's memory until it execs, so it makes only system calls.
  const pid_t child = vfork();  // NOLINT(bugprone-unsafe-functions)
  if (child == 0) {
    setpgid(0, 0);  // the terminal's Ctrl-C goes to the trainer, which closes engines
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kNotStarted);  // the parent died before prctl
    setrlimit(RLIMIT_CORE, &no_core);
    const int null = open("/dev/null", O_RDWR);
    if (null < 0) _exit(kNotStarted);
    for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
    if (chdir(directory) != 0) _exit(kNotStarted);
    // A file that it executes must not give it privileges either.
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !sandbox.Enter() ||
        !filter.Enter()) {
      _exit(kNotConfined);
    }
    if (library.fd() >= 0) dup2(library.fd(), kLibrary);
    // The engine must not hold the trainer's files and sockets open.
    int first = library.fd() >= 0 ? kLibrary + 1 : kLibrary;
    if (inherited.control >= 0) {
      dup2(inherited.control, fork_protocol::kControl);
      first = fork_protocol::kControl + 1;
    }
    if (syscall(SYS_close_range, static_cast<unsigned>(first), ~0U, 0U) != 0) {
      for (int fd = first; fd < 1024; ++fd) close(fd);
    }
    // exec resets handlers, but ignored signals stay ignored. Handlers must not run
    // before: a pending signal's would, in the parent's memory.
    for (int number = 1; number < NSIG; ++number) {
      struct sigaction now{};
      const bool handled = sigaction(number, nullptr, &now) == 0 &&
                           now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN;
      if (handled || number == SIGPIPE) sigaction(number, &standard, nullptr);
    }
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(argv[0], argv.data(), envp.data());
    _exit(kNotStarted);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (child < 0) {
    throw EngineError(std::string("Cannot start an engine process: ") +
                      std::strerror(errno) + "; use fewer environments.");
  }
  return child;
}

void EndProcess(pid_t pid) {
  using std::chrono::steady_clock;
  kill(pid, SIGKILL);
  const auto limit = steady_clock::now() + std::chrono::seconds(10);
  std::chrono::microseconds pause{100};
  while (true) {
    const pid_t ended = waitpid(pid, nullptr, WNOHANG);
    if (ended == pid || (ended < 0 && errno != EINTR)) return;
    if (steady_clock::now() > limit) return;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(5000));
  }
}

void RequireLibrary(const EngineConfig& config) {
  using Key =
      std::tuple<std::string, std::string, bool, dev_t, ino_t, off_t, long, long>;
  static std::mutex mutex;
  static std::set<Key> known;
  struct stat info{};
  stat(config.preload.c_str(), &info);  // the next call reports a missing file
  const Key key(config.executable, config.preload, config.confined, info.st_dev,
                info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
  const std::scoped_lock lock(mutex);
  if (known.contains(key)) return;

  std::vector<std::string> environment = config.environment;
  environment.emplace_back(kAskLibrary);
  const pid_t child = StartProcess(config, {config.executable}, std::move(environment),
                                   {.library = config.preload});
  const int status = WaitForEnd(child);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  if (code == kLoaded) {
    known.insert(key);
  } else if (code != kNotStarted && code != kNotConfined) {
    throw EngineError(
        "An engine of a match did not load " + config.preload +
        ", so it would listen on all network addresses; reinstall jaxfactory for this "
        "processor, on a file system that allows executables.");
  }  // otherwise the engine does not start either, and reports the reason
}

bool HasLoaded(pid_t pid, const std::string& library) {
  const std::size_t slash = library.rfind('/');
  const std::string_view name =
      std::string_view(library).substr(slash == std::string::npos ? 0 : slash);
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  std::string line;
  constexpr std::string_view kDeleted = " (deleted)";  // reinstalled since
  while (std::getline(maps, line)) {
    std::string_view path = line;
    if (path.ends_with(kDeleted)) path.remove_suffix(kDeleted.size());
    if (path.ends_with(name)) return true;
  }
  return false;
}

}  // namespace jaxfactory
