#include "doom_engine.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "hung_engines.h"
#include "screen_loop.h"

namespace jaxfactory {
namespace {

namespace bip = boost::interprocess;
using protocol::GameState;
using std::chrono::steady_clock;

constexpr char kToEngine[] = "ViZDoomMQDoom";
constexpr char kFromEngine[] = "ViZDoomMQCtr";
constexpr char kSegment[] = "ViZDoomSM";

// How long one `Poll` waits: long enough that an idle pool sleeps, short enough that a
// worker's other engines go on while one of them hangs.
constexpr std::chrono::milliseconds kSlice{20};

constexpr char kDigits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
constexpr char kIdPrefix[] = "jf";
constexpr int kPidDigits = 5;
constexpr int kCountDigits = 3;

void AppendBase36(std::string& text, unsigned value, int digits) {
  std::string reversed;
  for (int i = 0; i < digits; ++i, value /= 36) reversed.push_back(kDigits[value % 36]);
  text.append(reversed.rbegin(), reversed.rend());
}

// Ten characters, the length that the engine expects: who made it and a count, so that
// names of a process that was killed while starting engines can be recognised later.
std::string NextInstanceId() {
  static std::atomic<unsigned> count{0};
  std::string id = kIdPrefix;
  AppendBase36(id, static_cast<unsigned>(getpid()), kPidDigits);
  AppendBase36(id, count.fetch_add(1), kCountDigits);
  return id;
}

// The process that made a name in /dev/shm, or 0 if it is not one of ours.
pid_t OwnerOf(std::string_view name) {
  for (const std::string_view base :
       {std::string_view(kToEngine), std::string_view(kFromEngine),
        std::string_view(kSegment)}) {
    if (!name.starts_with(base)) continue;
    std::string_view id = name.substr(base.size());
    if (id.size() != 2 + kPidDigits + kCountDigits || !id.starts_with(kIdPrefix)) {
      return 0;
    }
    long pid = 0;
    for (const char c : id.substr(2, kPidDigits)) {
      const char* digit = std::strchr(kDigits, c);
      if (digit == nullptr) return 0;
      pid = pid * 36 + (digit - kDigits);
    }
    return static_cast<pid_t>(pid);
  }
  return 0;
}

// The environment, with a library that the process loads before its own.
std::vector<std::string> Environment(const std::string& preload) {
  constexpr std::string_view kPreload = "LD_PRELOAD=";
  std::vector<std::string> words;
  std::string libraries = preload;
  for (char** word = environ; *word != nullptr; ++word) {
    if (!preload.empty() && std::string_view(*word).starts_with(kPreload)) {
      libraries = std::string(*word + kPreload.size()) + ":" + preload;
    } else {
      words.emplace_back(*word);
    }
  }
  if (!preload.empty()) words.push_back(std::string(kPreload) + libraries);
  return words;
}

// What exec takes; valid as long as the words are.
std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string ExitText(int status) {
  if (WIFSIGNALED(status)) {
    return "was killed by signal " + std::to_string(WTERMSIG(status));
  }
  return "ended with exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

// A Boost.Interprocess message queue with a bounded wait.
class DoomEngine::Queue {
 public:
  explicit Queue(std::string name)
      : name_(std::move(name)),
        queue_(bip::create_only, name_.c_str(), protocol::kQueueMessages,
               sizeof(protocol::Message)) {}

  void Send(const protocol::Message& message) {
    if (!queue_.try_send(&message, sizeof(message), 0)) {
      throw EngineError("An engine's message queue is full: it has stopped reading.");
    }
  }

  bool Receive(protocol::Message& message) {
    bip::message_queue::size_type size = 0;
    unsigned priority = 0;
    const auto until = std::chrono::system_clock::now() + kSlice;
    return queue_.timed_receive(&message, sizeof(message), size, priority, until);
  }

  void Remove() { bip::message_queue::remove(name_.c_str()); }

 private:
  std::string name_;
  bip::message_queue queue_;
};

DoomEngine::DoomEngine(const EngineConfig& config, std::uint32_t game_seed,
                       const std::vector<std::string>& arguments, int core)
    : config_(config), game_seed_(game_seed), id_(NextInstanceId()) {
  try {
    to_engine_ = std::make_unique<Queue>(kToEngine + id_);
    from_engine_ = std::make_unique<Queue>(kFromEngine + id_);
    Spawn(arguments, core);
  } catch (const bip::interprocess_exception& error) {
    RemoveNames();
    throw EngineError(std::string("Cannot create an engine's message queues in shared "
                                  "memory (") +
                      error.what() + "); is /dev/shm mounted, writable and not full?");
  } catch (...) {
    RemoveNames();
    throw;
  }
}

DoomEngine::~DoomEngine() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (segment_ != nullptr) munmap(segment_, segment_size_);
  RemoveNames();
}

void DoomEngine::RemoveNames() {
  if (to_engine_) to_engine_->Remove();
  if (from_engine_) from_engine_->Remove();
  shm_unlink((std::string("/") + kSegment + id_).c_str());
}

void DoomEngine::Spawn(const std::vector<std::string>& arguments, int core) {
  std::vector<std::string> words = {config_.executable};
  words.insert(words.end(), config_.arguments.begin(), config_.arguments.end());
  words.insert(words.end(), arguments.begin(), arguments.end());
  for (const std::string& word :
       {std::string("+viz_instance_id"), id_, std::string("-rngseed"),
        std::to_string(game_seed_)}) {
    words.push_back(word);
  }
  const std::vector<char*> argv = Pointers(words);
  std::vector<std::string> environment = Environment(config_.preload);
  const std::vector<char*> envp = Pointers(environment);

  const pid_t parent = getpid();
  const char* const directory = config_.directory.c_str();
  struct sigaction standard{};
  standard.sa_handler = SIG_DFL;
  sigset_t all, before, none;
  sigfillset(&all);
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  // Not fork: that runs what libraries registered for it (OpenBLAS and others stop and
  // start their threads there), which can lock up when several of our threads fork at
  // once, and it copies the page tables of a large process. The child borrows our
  // memory until it execs, so it makes only system calls.
  const pid_t child = vfork();  // NOLINT(bugprone-unsafe-functions)
  if (child == 0) {
    setpgid(0, 0);  // the terminal's Ctrl-C is for the trainer, which then closes us
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);  // it died before the line above took effect
    const int null = open("/dev/null", O_RDWR);
    if (null < 0) _exit(127);
    for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
    // The engine must not hold the trainer's files and sockets open.
    if (syscall(SYS_close_range, 3U, ~0U, 0U) != 0) {
      for (int fd = 3; fd < 1024; ++fd) close(fd);
    }
    if (chdir(directory) != 0) _exit(127);
    // Handlers end with exec, but a signal that is ignored stays so.
    sigaction(SIGPIPE, &standard, nullptr);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (child < 0) {
    throw EngineError(std::string("Cannot start an engine process: ") +
                      std::strerror(errno) + "; use fewer environments.");
  }
  pid_ = child;
  if (core >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    // It only makes the engine faster: where it is forbidden, go on without.
    sched_setaffinity(pid_, sizeof(set), &set);
  }
  deadline_ =
      steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(
                                std::chrono::duration<double>(config_.start_timeout));
}

void DoomEngine::Attach() {
  const std::string name = std::string("/") + kSegment + id_;
  const int fd = shm_open(name.c_str(), O_RDWR, 0);
  struct stat info{};
  if (fd < 0 || fstat(fd, &info) != 0) {
    if (fd >= 0) close(fd);
    throw EngineError("The engine made no shared memory segment; is /dev/shm full?");
  }
  segment_size_ = static_cast<std::size_t>(info.st_size);
  void* memory =
      mmap(nullptr, segment_size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) {
    throw EngineError("Cannot map the engine's shared memory.");
  }
  segment_ = static_cast<std::uint8_t*>(memory);
  state_ = reinterpret_cast<const GameState*>(segment_);
  const bool known = segment_size_ >= sizeof(GameState) &&
                     state_->version == protocol::kEngineVersion &&
                     state_->segment_size == segment_size_ &&
                     state_->region_size[0] == sizeof(GameState) &&
                     state_->region_size[1] == sizeof(protocol::InputState);
  if (!known) {
    const std::string found(
        state_->version_text,
        strnlen(state_->version_text, sizeof(state_->version_text)));
    throw EngineError("The ViZDoom engine says it is version " + found +
                      ", but this build speaks to version " +
                      protocol::kEngineVersionText +
                      "; install vizdoom==" + protocol::kEngineVersionText + ".");
  }
  input_ = reinterpret_cast<protocol::InputState*>(
      segment_ + state_->region_offset[protocol::kInputRegion]);
  RemoveNames();  // both sides are attached: nothing can be left behind any more
  tuned_ = ReplaceScreenLoop(pid_, config_.executable, config_.screen_loop);
}

const std::uint8_t* DoomEngine::region(protocol::Region region) const {
  return segment_ + state_->region_offset[region];
}

void DoomEngine::Send(protocol::Code code) {
  protocol::Message message{};
  message.code = code;
  deadline_ = steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(
                                        std::chrono::duration<double>(config_.timeout));
  try {
    to_engine_->Send(message);
  } catch (const bip::interprocess_exception& error) {
    throw EngineError(std::string("Cannot send to an engine: ") + error.what());
  }
}

void DoomEngine::SendCommand(const std::string& command) {
  if (command.size() >= protocol::kCommandLength) {
    throw EngineError("The engine's command is longer than 127 characters: " + command);
  }
  protocol::Message message{};
  message.code = protocol::kCommand;
  command.copy(message.command, command.size());
  try {
    to_engine_->Send(message);
  } catch (const bip::interprocess_exception& error) {
    throw EngineError(std::string("Cannot send to an engine: ") + error.what());
  }
}

bool DoomEngine::Poll() {
  protocol::Message message{};
  bool received = false;
  try {
    const Receiving receiving(pid_, deadline_);
    received = from_engine_->Receive(message);
  } catch (const bip::interprocess_exception&) {
    // The queue's lock was not released in time: its holder died or hangs.
    CheckAlive();
    throw EngineError("An engine stopped while it held its message queue's lock.");
  }
  if (!received) {
    CheckAlive();
    return false;
  }
  switch (message.code) {
    case protocol::kDone:
      if (state_ == nullptr) Attach();
      return true;
    case protocol::kError: {
      const std::string text(message.command,
                             strnlen(message.command, sizeof(message.command)));
      throw EngineError("The Doom engine reports: " + text);
    }
    default:
      throw EngineError("The Doom engine closed itself unexpectedly.");
  }
}

void DoomEngine::CheckAlive() {
  int status = 0;
  const pid_t ended = waitpid(pid_, &status, WNOHANG);
  if (ended < 0 && errno == ECHILD) {  // someone else in this process waited for it
    pid_ = -1;
    throw EngineError("The Doom engine ended.");
  }
  if (ended == pid_) {
    const std::string who = "The Doom engine (process " + std::to_string(pid_) + ") ";
    pid_ = -1;
    if (state_ == nullptr) {
      throw EngineError(who + ExitText(status) + " while it started; check that " +
                        config_.executable + " runs on this machine.");
    }
    throw EngineError(who + ExitText(status) + ".");
  }
  if (steady_clock::now() < deadline_) return;
  const double limit = state_ == nullptr ? config_.start_timeout : config_.timeout;
  std::string seconds = std::to_string(limit);
  seconds.resize(seconds.find('.') + 2);
  throw EngineError("The Doom engine (process " + std::to_string(pid_) +
                    ") did not answer within " + seconds + " s.");
}

void RemoveStaleNames() {
  DIR* folder = opendir("/dev/shm");
  if (folder == nullptr) return;
  while (const dirent* entry = readdir(folder)) {
    const pid_t owner = OwnerOf(entry->d_name);
    if (owner > 0 && kill(owner, 0) != 0 && errno == ESRCH) {
      shm_unlink((std::string("/") + entry->d_name).c_str());
    }
  }
  closedir(folder);
}

}  // namespace jaxfactory
