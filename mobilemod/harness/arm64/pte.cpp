// Runs a `.pte` file by ExecuTorch's C++ library, for processes that have no PyTorch.
#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#include <memory>
#include <vector>

using namespace executorch::runtime;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::MallocMemoryAllocator;
using executorch::extension::MmapDataLoader;

namespace {

// In the order in which they are made; destroyed from the last.
struct Model {
  std::unique_ptr<MmapDataLoader> loader;
  std::unique_ptr<Program> program;
  MallocMemoryAllocator own, temporary;
  std::vector<std::vector<uint8_t>> planned;
  std::vector<Span<uint8_t>> spans;
  std::unique_ptr<HierarchicalAllocator> hierarchy;
  std::unique_ptr<MemoryManager> memory;
  std::unique_ptr<Method> method;
  std::vector<TensorImpl::SizesType> sizes;
  std::vector<TensorImpl::DimOrderType> order;
  std::unique_ptr<TensorImpl> input;
};

}  // namespace

// Every function gives an error code of ExecuTorch's, 0 where all is well.
extern "C" {

// A file ready to run, in *out; `pte_free` takes it.
int pte_load(const char* path, Model** out) {
  runtime_init();
  auto model = std::make_unique<Model>();
  auto loader = MmapDataLoader::from(path, MmapDataLoader::MlockConfig::NoMlock);
  if (!loader.ok()) return int(loader.error());
  model->loader = std::make_unique<MmapDataLoader>(std::move(*loader));
  auto program = Program::load(model->loader.get());
  if (!program.ok()) return int(program.error());
  model->program = std::make_unique<Program>(std::move(*program));
  auto meta = model->program->method_meta("forward");
  if (!meta.ok()) return int(meta.error());
  for (size_t i = 0; i < meta->num_memory_planned_buffers(); ++i) {
    auto& buffer = model->planned.emplace_back(*meta->memory_planned_buffer_size(i));
    model->spans.emplace_back(buffer.data(), buffer.size());
  }
  model->hierarchy = std::make_unique<HierarchicalAllocator>(
      Span<Span<uint8_t>>(model->spans.data(), model->spans.size()));
  model->memory = std::make_unique<MemoryManager>(
      &model->own, model->hierarchy.get(), &model->temporary);
  auto method = model->program->load_method("forward", model->memory.get());
  if (!method.ok()) return int(method.error());
  model->method = std::make_unique<Method>(std::move(*method));
  *out = model.release();
  return 0;
}

// The float32 image that `pte_run` reads, which stays the caller's.
int pte_set_input(Model* model, float* data, const int* sizes, int count) {
  model->sizes.assign(sizes, sizes + count);
  model->order.clear();
  for (int i = 0; i < count; ++i) model->order.push_back(i);
  model->input = std::make_unique<TensorImpl>(
      executorch::aten::ScalarType::Float, count, model->sizes.data(), data, model->order.data());
  return int(model->method->set_input(EValue(Tensor(model->input.get())), 0));
}

int pte_run(Model* model) {
  model->temporary.reset();
  return int(model->method->execute());
}

// The values of the first output, how many there are, and the bytes of one: 4 of float32, 1 of uint8.
int pte_output(Model* model, const void** data, int64_t* count, int* bytes) {
  using executorch::aten::ScalarType;
  const EValue& value = model->method->get_output(0);
  if (!value.isTensor()) return int(Error::InvalidType);
  const Tensor& tensor = value.toTensor();
  const bool real = tensor.scalar_type() == ScalarType::Float;
  if (!real && tensor.scalar_type() != ScalarType::Byte) return int(Error::InvalidType);
  *data = tensor.const_data_ptr();
  *count = tensor.numel();
  *bytes = real ? 4 : 1;
  return 0;
}

void pte_free(Model* model) { delete model; }

}  // extern "C"
