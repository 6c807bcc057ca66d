#include "launch/operator_door.hpp"

#include <cstdio>

#include "launch/build_id.hpp"
#include "launch/launch_folder.hpp"
#include "launch/run_id.hpp"

namespace tracewise {
namespace {

constexpr const char* kLoopback = "127.0.0.1";
constexpr int kIdentityDays = 365;

}  // namespace

Result<std::unique_ptr<OperatorDoor>> OperatorDoor::make(const std::filesystem::path& run) {
  TW_ASSIGN(const RunAuthority authority, open_authority(run));
  std::unique_ptr<OperatorDoor> door(new OperatorDoor(run));
  NodeSetup& node = door->setup_.node;
  TW_ASSIGN(node.identity, authority.issue(kHeadName, kIdentityDays));
  node.hello.build = build_id();
  node.hello.run = run_id(node.identity.authority_pem);
  node.door.address = kLoopback;
  node.host = kLoopback;
  door->setup_.takes_nodes = false;
  door->setup_.on_open = [run](const NodeAddress& address) {
    const auto noted = write_head_address(run, {address.host, address.port});
    if (!noted.ok())
      std::fprintf(stderr, "tracewise: the shell cannot find this run: %s\n",
                   noted.error().message.c_str());
  };
  return door;
}

OperatorDoor::~OperatorDoor() { forget_head_address(run_); }

}  // namespace tracewise
