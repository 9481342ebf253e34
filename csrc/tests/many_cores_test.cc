// A machine with more cores than `cpu_set_t` holds: the calls for affinity are
// replaced.
#include <sched.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <mutex>
#include <set>
#include <vector>

#include "pool/worker_pool.h"
#include "tests/check.h"

namespace {

constexpr std::size_t kPossible = 4096;
constexpr std::array<int, 3> kUsable = {3, 1500, 4000};

std::mutex mutex;
std::multiset<std::vector<int>> chosen;

}  // namespace

extern "C" int sched_getaffinity(pid_t /*who*/, std::size_t bytes,
                                 cpu_set_t* set) noexcept {
  if (8 * bytes < kPossible) {
    errno = EINVAL;
    return -1;
  }
  CPU_ZERO_S(bytes, set);
  for (const int core : kUsable) CPU_SET_S(static_cast<std::size_t>(core), bytes, set);
  return 0;
}

extern "C" int sched_setaffinity(pid_t /*who*/, std::size_t bytes,
                                 const cpu_set_t* set) noexcept {
  std::vector<int> cores;
  for (std::size_t core = 0; core < 8 * bytes; ++core) {
    if (CPU_ISSET_S(core, bytes, set)) cores.push_back(static_cast<int>(core));
  }
  const std::scoped_lock lock(mutex);
  chosen.insert(cores);
  return 0;
}

namespace jaxfactory {
namespace {

void TestAllCoresAreFound() {
  CHECK(UsableCores() == std::vector<int>(kUsable.begin(), kUsable.end()));
}

void TestACoreBeyondTheThousandth() {
  RunOn(0, {4000});
  CHECK(chosen == (std::multiset<std::vector<int>>{{4000}}));
  chosen.clear();
}

void TestEachWorkerHasACoreOfItsOwn() {
  {
    const WorkerPool pool(4, true, false);
  }
  CHECK(chosen == (std::multiset<std::vector<int>>{{3}, {3}, {1500}, {4000}}));
}

}  // namespace
}  // namespace jaxfactory

int main() {
  jaxfactory::TestAllCoresAreFound();
  jaxfactory::TestACoreBeyondTheThousandth();
  jaxfactory::TestEachWorkerHasACoreOfItsOwn();
}
