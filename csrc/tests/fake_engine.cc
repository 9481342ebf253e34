// Simulates an engine compromised by a map: it speaks the engine's protocol and creates
// invalid shared memory. "-attack NAME" selects the attack.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "doom/engine/engine_protocol.h"
#include "doom/patches/fork_protocol.h"

namespace {

namespace bip = boost::interprocess;
namespace protocol = jaxfactory::protocol;
using protocol::GameState;

constexpr int kWidth = 160, kHeight = 120;

struct Plan {
  std::string id, attack;
  bool is(const char* name) const { return attack == name; }
};

void Say(bip::message_queue& queue, std::uint8_t code, const char* text = "") {
  protocol::Message message{};
  message.code = code;
  std::strncpy(message.command, text, sizeof(message.command) - 1);
  queue.send(&message, sizeof(message), 0);
}

// The layout of a real engine, except for the attack.
void Fill(GameState& state, std::size_t size, const Plan& plan) {
  constexpr std::size_t kScreen = kWidth * kHeight * 3;
  const std::size_t input = sizeof(GameState);
  const std::size_t screen = input + sizeof(protocol::InputState);
  state.version = protocol::kEngineVersion;
  std::strcpy(state.version_text, protocol::kEngineVersionText);
  state.segment_size = size;
  state.region_offset[protocol::kInputRegion] = input;
  state.region_offset[protocol::kScreenRegion] = screen;
  state.region_size[protocol::kStateRegion] = sizeof(GameState);
  state.region_size[protocol::kInputRegion] = sizeof(protocol::InputState);
  state.region_size[protocol::kScreenRegion] = kScreen;
  state.screen_width = kWidth;
  state.screen_height = kHeight;
  state.map_tic = 1;
  state.map_tic_limit = 0xFFFFFFFFU;
  if (plan.is("version")) {
    state.version = 99;
    std::strcpy(state.version_text, "\x1b[2J\xff\n");
  }
  if (plan.is("segment size")) state.segment_size = size * 2;
  if (plan.is("screen outside")) state.region_offset[protocol::kScreenRegion] = size;
  if (plan.is("screen far outside")) {
    // The sum wraps around to a small number.
    state.region_offset[protocol::kScreenRegion] = ~std::size_t{0} - kScreen / 2;
  }
  if (plan.is("depth too long")) {
    state.region_size[protocol::kDepthRegion] = ~std::size_t{0};
    state.region_offset[protocol::kDepthRegion] = 8;
  }
  if (plan.is("screen too small")) {
    state.region_size[protocol::kScreenRegion] = kScreen - 1;
  }
  if (plan.is("no depth")) state.depth_buffer = 1;
  if (plan.is("input in the state")) state.region_offset[protocol::kInputRegion] = 8;
  if (plan.is("input not aligned")) {
    state.region_offset[protocol::kInputRegion] = input + 4;
  }
  if (plan.is("input outside")) {
    state.region_offset[protocol::kInputRegion] = size - 16;
  }
  if (plan.is("state elsewhere")) state.region_offset[protocol::kStateRegion] = 8;
}

GameState* MakeSegment(const Plan& plan) {
  const std::string name = "/ViZDoomSM" + plan.id, path = "/dev/shm" + name;
  if (plan.is("nothing")) return nullptr;
  if (plan.is("link")) {
    const std::string target = "/dev/shm/jaxfactory-fake-" + plan.id;
    close(open(target.c_str(), O_RDWR | O_CREAT, 0600));
    symlink(target.c_str(), path.c_str());
    unlink(target.c_str());
    return nullptr;
  }
  if (plan.is("pipe")) {
    mkfifo(path.c_str(), 0600);
    return nullptr;
  }
  std::size_t size =
      sizeof(GameState) + sizeof(protocol::InputState) + kWidth * kHeight * 3;
  const std::size_t whole = size;
  if (plan.is("too small")) size = 100;
  if (plan.is("empty")) size = 0;
  if (plan.is("too large")) size = std::size_t{1} << 40;  // sparse
  const int fd = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0644);
  if (ftruncate(fd, static_cast<off_t>(size)) != 0) _exit(1);
  fchmod(fd, plan.is("others write") ? 0666 : plan.is("group writes") ? 0664 : 0644);
  if (plan.is("stranger") && fchown(fd, 65534, 65534) != 0) _exit(2);
  if (size < whole) return nullptr;
  void* memory = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  auto* state = static_cast<GameState*>(memory);
  Fill(*state, size, plan);
  return state;
}

// The word with the lock inside the condition variable on which a queue's receiver
// waits; see abandoned_lock.h.
unsigned* ConditionsLock(const std::string& queue) {
  using Header = bip::ipcdetail::mq_hdr_t<bip::offset_ptr<void>>;
  using Impl = bip::ipcdetail::managed_open_or_create_impl<bip::shared_memory_object, 0,
                                                           true, false>;
  constexpr std::size_t kStart = Impl::ManagedOpenOrCreateUserOffset;
  const int fd = shm_open(("/" + queue).c_str(), O_RDWR, 0);
  void* memory =
      mmap(nullptr, kStart + sizeof(Header), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  auto* header = reinterpret_cast<Header*>(static_cast<char*>(memory) + kStart);
  auto* condition = reinterpret_cast<pthread_cond_t*>(&header->m_cond_recv);
  return &condition->__data.__g1_orig_size;
}

// As a fork server; see fork_server.h. It names the process whose id is the seed.
[[noreturn]] void Serve(const Plan& plan) {
  namespace fork_protocol = jaxfactory::fork_protocol;
  using fork_protocol::kControl;
  const auto reply = [](std::int32_t pid, std::size_t size) {
    const fork_protocol::Reply message{pid};
    if (write(kControl, &message, size) < 0) _exit(1);
  };
  if (plan.is("server not ready")) reply(fork_protocol::kFailed, sizeof(std::int32_t));
  reply(fork_protocol::kReady, sizeof(fork_protocol::Reply));
  fork_protocol::Request request{};
  while (read(kControl, &request, sizeof(request)) == sizeof(request)) {
    if (plan.is("server ends")) _exit(0);
    if (plan.is("server hangs")) pause();
    const auto pid = static_cast<std::int32_t>(request.seed);
    reply(plan.is("server names itself") ? getpid() : pid,
          plan.is("server stops short") ? 1 : sizeof(fork_protocol::Reply));
  }
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  // Like the library of matches when it is loaded; see match_preload.cc.
  if (std::getenv("JAXFACTORY_PRELOAD_PROBE") != nullptr) {
    return std::getenv("FAKE_LIBRARY") != nullptr ? 77 : 0;
  }
  Plan plan;
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string word = argv[i];
    if (word == "+viz_instance_id") plan.id = argv[i + 1];
    if (word == "-attack") plan.attack = argv[i + 1];
  }
  if (std::getenv(jaxfactory::fork_protocol::kVariable) != nullptr) Serve(plan);
  if (plan.is("port taken")) return 98;
  if (plan.is("silent")) {
    while (true) pause();
  }
  bip::message_queue in(bip::open_only, ("ViZDoomMQDoom" + plan.id).c_str());
  bip::message_queue out(bip::open_only, ("ViZDoomMQCtr" + plan.id).c_str());
  if (plan.is("an error")) {
    Say(out, protocol::kError, "no\n\x1b[31m map \xff\xfe");
    while (true) pause();
  }
  unsigned* const lock = ConditionsLock("ViZDoomMQCtr" + plan.id);
  GameState* state = MakeSegment(plan);
  Say(out, protocol::kDone);
  while (true) {
    protocol::Message message{};
    bip::message_queue::size_type size = 0;
    unsigned priority = 0;
    in.receive(&message, sizeof(message), size, priority);
    if (message.code == protocol::kCommand) continue;
    if (plan.is("stops with a lock")) {
      std::atomic_ref<unsigned>(*lock).fetch_or(1);
      raise(SIGSTOP);
    }
    if (plan.is("moves later") && state != nullptr) {
      for (std::size_t& offset : state->region_offset) offset = ~std::size_t{0} / 2;
    }
    if (plan.is("shouts") && state != nullptr) {
      // Largest values everywhere except in the layout.
      auto* bytes = reinterpret_cast<unsigned char*>(state);
      std::memset(bytes + offsetof(GameState, game_tic), 0xFF,
                  sizeof(GameState) - offsetof(GameState, game_tic));
      state->screen_width = kWidth;
      state->screen_height = kHeight;
      state->map_tic = 1;
    }
    Say(out, protocol::kDone);
  }
}
