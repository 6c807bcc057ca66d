#include "launch/doctor/host_report.hpp"

#include <nlohmann/json.hpp>

namespace tracewise {
namespace {

using nlohmann::json;

std::string line_of(const char* what, json value) {
  return json{{what, std::move(value)}}.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

json to_json(const WantedNode& n) {
  return {{"name", n.name},
          {"seats", {n.seats.generators, n.seats.tracers, n.seats.builders, n.seats.ranks}},
          {"devices", n.devices},
          {"rank_device", n.rank_device},
          {"address", n.door.address},
          {"port", n.door.port},
          {"fixed_port", n.door.fixed_port}};
}

WantedNode node_of(const json& j) {
  WantedNode n;
  n.name = j.at("name");
  const json& seats = j.at("seats");
  n.seats = {seats.at(0), seats.at(1), seats.at(2), seats.at(3)};
  n.devices = j.at("devices").get<std::vector<std::string>>();
  n.rank_device = j.at("rank_device");
  n.door.address = j.at("address");
  n.door.port = j.at("port");
  n.door.fixed_port = j.at("fixed_port");
  return n;
}

json to_json(const HostRequest& r) {
  json nodes = json::array();
  for (const WantedNode& node : r.nodes) nodes.push_back(to_json(node));
  return {{"identity", to_text(r.identity)},
          {"run", r.run},
          {"config", r.config},
          {"nodes", nodes},
          {"head", r.head}};
}

Result<DoctorOrder> request_of(const json& j) {
  HostRequest r;
  TW_ASSIGN(r.identity, identity_from_text(j.at("identity").get<std::string>()));
  r.run = j.at("run");
  r.config = j.at("config");
  for (const json& node : j.at("nodes")) r.nodes.push_back(node_of(node));
  r.head = j.at("head");
  return DoctorOrder(std::move(r));
}

json to_json(const HostReport& r) {
  json disks = json::array();
  for (const DiskReport& disk : r.disks) disks.push_back({disk.what, disk.path, disk.free_bytes});
  json j = {{"host", r.host},
            {"cores", r.cores},
            {"open_files", r.open_files},
            {"memory", r.memory_bytes},
            {"available", r.available_bytes},
            {"disks", disks},
            {"doors", r.doors},
            {"door_port", r.door_port},
            {"model", r.model},
            {"cuda_build", r.cuda_build},
            {"cuda_devices", r.cuda_devices},
            {"nccl", r.nccl},
            {"devices", r.devices},
            {"all_reduce_found", r.all_reduce_found}};
  if (r.all_reduce) j["all_reduce"] = *r.all_reduce;
  return j;
}

HostReport report_of(const json& j) {
  HostReport r;
  r.host = j.at("host");
  r.cores = j.at("cores");
  r.open_files = j.at("open_files");
  r.memory_bytes = j.at("memory");
  r.available_bytes = j.at("available");
  for (const json& disk : j.at("disks")) r.disks.push_back({disk.at(0), disk.at(1), disk.at(2)});
  r.doors = j.at("doors").get<std::map<std::string, std::string>>();
  r.door_port = j.at("door_port");
  r.model = j.at("model");
  r.cuda_build = j.at("cuda_build");
  r.cuda_devices = j.at("cuda_devices");
  r.nccl = j.at("nccl");
  r.devices = j.at("devices").get<std::map<std::string, std::string>>();
  r.all_reduce_found = j.at("all_reduce_found");
  if (j.contains("all_reduce")) r.all_reduce = j.at("all_reduce").get<std::string>();
  return r;
}

json to_json(const HostDoors& doors) {
  json list = json::array();
  for (const HostDoor& door : doors) list.push_back({door.name, door.host, door.port});
  return list;
}

}  // namespace

std::string to_line(const DoctorOrder& order) {
  struct {
    std::string operator()(const HostPing&) const { return line_of("ping", true); }
    std::string operator()(const HostRequest& r) const { return line_of("request", to_json(r)); }
    std::string operator()(const HostDoors& d) const { return line_of("peers", to_json(d)); }
  } line;
  return std::visit(line, order);
}

std::string to_line(const HostAnswer& answer) {
  struct {
    std::string operator()(const HostHello& h) const {
      return line_of("hello", {{"build", h.build}, {"protocol", h.protocol}});
    }
    std::string operator()(const HostTime& t) const { return line_of("time", t.seconds); }
    std::string operator()(const HostReport& r) const { return line_of("report", to_json(r)); }
    std::string operator()(const HostReached& r) const { return line_of("reached", r.doors); }
  } line;
  return std::visit(line, answer);
}

Result<DoctorOrder> doctor_order(std::string_view line) {
  try {
    const json j = json::parse(line);
    if (j.contains("ping")) return DoctorOrder(HostPing{});
    if (j.contains("request")) return request_of(j["request"]);
    HostDoors doors;
    for (const json& door : j.at("peers")) doors.push_back({door.at(0), door.at(1), door.at(2)});
    return DoctorOrder(std::move(doors));
  } catch (const json::exception&) {
    return bad_input("a line on standard input is not the doctor's");
  }
}

std::optional<HostAnswer> host_answer(std::string_view line) {
  try {
    const json j = json::parse(line);
    if (j.contains("hello")) return HostHello{j["hello"].at("build"), j["hello"].at("protocol")};
    if (j.contains("time")) return HostTime{j["time"]};
    if (j.contains("report")) return report_of(j["report"]);
    if (j.contains("reached"))
      return HostReached{j["reached"].get<std::map<std::string, std::string>>()};
  } catch (const json::exception&) {
    // A line like any other.
  }
  return std::nullopt;
}

}  // namespace tracewise
