#include "model/merge_adapter.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstring>

#include "model/adapter.hpp"
#include "model/decoder_parameters.hpp"

namespace tracewise {

WeightsPtr merge_adapter(ModelConfig& config, const Weights& adapter) {
  TW_CHECK(config.adapter.rank > 0 && adapter.base(), "an adapter with its base");
  c10::NoGradGuard no_gradient;
  const Weights& base = *adapter.base();
  const WeightsManifest layout = version_layout(config);
  WeightsManifest manifest = weights_layout(config);
  auto bytes = allocate_weights(manifest.bytes);
  std::memcpy(bytes.get(), base.bytes().data(), manifest.bytes);
  const at::Tensor factors = view_of(adapter), from = view_of(base);
  const at::Tensor to = at::from_blob(bytes.get(), from.sizes(), from.options());
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const std::string& module : config.adapter.targets) {
      const std::string name =
          "model.layers." + std::to_string(layer) + "." + module_path(module) + ".weight";
      part(to, manifest, name)
          .copy_(ops::merged({part(from, manifest, name),
                              part(factors, layout, adapter_tensor_name(layer, module, 'A')),
                              part(factors, layout, adapter_tensor_name(layer, module, 'B')),
                              config.adapter.scale()}));
    }
  }
  manifest.version = adapter.version();
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  config.adapter = {};
  return std::make_shared<Weights>(std::move(manifest), std::move(bytes));
}

}  // namespace tracewise
