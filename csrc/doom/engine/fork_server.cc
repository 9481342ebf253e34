#include "doom/engine/fork_server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

#include "doom/engine/engine_names.h"
#include "doom/engine/engine_process.h"
#include "doom/patches/fork_protocol.h"

namespace jaxfactory {
namespace {

// Duration of one wait for a server; as in doom_engine.cc.
constexpr std::chrono::milliseconds kSlice{20};

// So many engines cost less time and memory without a server.
constexpr int kDirectStarts = 2;

// A seed that no other variable of the engine has by chance.
std::uint32_t RareSeed() {
  std::random_device random;
  return (random() & 0x3FFFFFFF) | 0x40000000;
}

}  // namespace

ForkServer::~ForkServer() { Close(); }

void ForkServer::Close() {
  usable_ = false;
  if (control_ >= 0) close(control_);
  if (pid_ > 0) EndProcess(pid_);
  control_ = pid_ = -1;
}

bool ForkServer::Running() {
  const std::scoped_lock lock(mutex_);
  return usable_ && ready_;
}

bool ForkServer::Ready() {
  const std::scoped_lock lock(mutex_);
  return starts_ < kDirectStarts || Await();
}

pid_t ForkServer::Start(const std::string& id, std::uint32_t seed) {
  const std::scoped_lock lock(mutex_);
  if (usable_ && starts_ < kDirectStarts) {
    ++starts_;
    return kDirectly;
  }
  if (!Await()) return kNotYet;
  if (!usable_) return kDirectly;
  const pid_t pid = Request(id, seed);
  if (pid > 0) return pid;
  Close();
  return kNotYet;
}

// Waits shortly for the server; returns false if it is still starting.
bool ForkServer::Await() {
  if (!usable_ || ready_) return true;
  const bool launched = pid_ >= 0 || Launch();
  if (launched && !HasReply(kSlice)) {
    if (!limit_.Exceeded()) return false;
    Close();
  } else if (!launched || Receive() != fork_protocol::kReady) {
    Close();
  } else {
    ready_ = true;
  }
  return true;
}

bool ForkServer::Launch() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return false;
  control_ = ends[0];
  // Above the descriptors that the child replaces.
  const int theirs = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
  close(ends[1]);
  if (theirs < 0) return false;
  const std::string id = RandomInstanceId();
  const std::string seed = std::to_string(RareSeed());
  std::vector<std::string> words = {config_.executable};
  words.insert(words.end(), config_.arguments.begin(), config_.arguments.end());
  words.insert(words.end(), arguments_.begin(), arguments_.end());
  words.insert(words.end(), {"+viz_instance_id", id, "-rngseed", seed});
  std::vector<std::string> environment = config_.environment;
  environment.push_back(std::string(fork_protocol::kVariable) + "=" + id + " " + seed);
  try {
    pid_ = StartProcess(config_, std::move(words), std::move(environment),
                        {.library = config_.fork_library, .control = theirs});
  } catch (const EngineError&) {
    pid_ = -1;  // the engine is then tried directly
  }
  close(theirs);
  limit_.Restart(config_.start_timeout);
  return pid_ > 0;
}

pid_t ForkServer::Request(const std::string& id, std::uint32_t seed) {
  fork_protocol::Request request{};
  if (id.size() != sizeof(request.id)) return -1;
  std::copy(id.begin(), id.end(), request.id);
  request.seed = seed;
  if (send(control_, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request)) {
    return -1;
  }
  limit_.Restart(config_.timeout);
  while (!HasReply(kSlice)) {
    if (limit_.Exceeded()) return -1;
  }
  const std::int32_t pid = Receive();
  // A hostile map may control the server. Only a child of the server, which is also
  // this process's, may be taken for an engine and later be killed.
  siginfo_t info{};
  const bool ours =
      pid > 0 && pid != pid_ && getpgid(pid) == pid_ &&
      waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
  return ours ? pid : -1;
}

bool ForkServer::HasReply(std::chrono::milliseconds wait) const {
  pollfd ready{control_, POLLIN, 0};
  return poll(&ready, 1, static_cast<int>(wait.count())) == 1;
}

// After `HasReply`; kFailed if the server has ended.
std::int32_t ForkServer::Receive() const {
  fork_protocol::Reply reply{};
  // It does not wait.  NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection)
  const ssize_t size = recv(control_, &reply, sizeof(reply), MSG_DONTWAIT);
  return size == sizeof(reply) ? reply.pid : fork_protocol::kFailed;
}

}  // namespace jaxfactory
