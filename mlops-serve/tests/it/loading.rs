//! What the repository does with packages that cannot be loaded.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use mlops_core::{
    DataType, Error, ErrorKind, Model, ModelName, ModelPackage, ModelRef, Result, Selector, Signature, TensorSpec,
    Version,
};
use mlops_serve::{ClosureModel, DirectorySource, ModelConfig, ModelRepository, Runtime, Runtimes};

#[tokio::test]
async fn a_package_that_fails_is_not_loaded_again_until_it_changes_or_somebody_asks() {
    let root = tempfile::tempdir().unwrap();
    let source = DirectorySource::new(root.path());
    let name: ModelName = "churn".parse().unwrap();
    let column = TensorSpec::column("x", DataType::Float64);
    let package = |flavor: &str| ModelPackage::new(flavor, Signature::new([column.clone()], [column.clone()]).unwrap());
    source.write(&name, Version(1), &package("broken")).unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let runtimes = Runtimes::new()
        .with("broken", move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Err(Error::data_loss("a tree has no root"))
        })
        .with("echo", |package: &ModelPackage| {
            Ok(Arc::new(ClosureModel::new(package.manifest.signature.clone(), |batch| Ok(batch.clone()))))
        });
    let repository = ModelRepository::with_source(Arc::new(source.clone()), runtimes);
    repository.add(ModelConfig::new(ModelRef { name: name.clone(), selector: Selector::Latest })).unwrap();
    for _ in 0..3 {
        let failed = repository.sync().await.failed;
        assert_eq!((failed.len(), failed[0].1.kind()), (1, ErrorKind::DataLoss));
        assert!(failed[0].1.message().contains("a tree has no root"), "{}", failed[0].1);
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }
    assert_eq!(repository.load(&name).await.unwrap_err().kind(), ErrorKind::DataLoss);
    assert_eq!(loads.load(Ordering::SeqCst), 2, "who asks for it gets another try");
    source.write(&name, Version(2), &package("echo")).unwrap();
    assert_eq!(repository.sync().await.into_result().unwrap(), [(name, Version(2))]);
}

/// Fails once, as a server that refuses us once.
#[derive(Debug, Default)]
struct Elsewhere(AtomicUsize);

impl Runtime for Elsewhere {
    fn flavors(&self) -> Vec<String> {
        vec!["elsewhere".into()]
    }

    fn load(&self, package: &ModelPackage) -> Result<Arc<dyn Model>> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Error::failed_precondition("it answered 401"));
        }
        Ok(Arc::new(ClosureModel::new(package.manifest.signature.clone(), |batch| Ok(batch.clone()))))
    }

    fn depends_on_others(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn what_depends_on_others_is_loaded_again_at_the_next_synchronisation() {
    let root = tempfile::tempdir().unwrap();
    let source = DirectorySource::new(root.path());
    let name: ModelName = "churn".parse().unwrap();
    let column = TensorSpec::column("x", DataType::Float64);
    let package = ModelPackage::new("elsewhere", Signature::new([column.clone()], [column]).unwrap());
    source.write(&name, Version(1), &package).unwrap();
    let runtimes = Runtimes::new().with_runtime(Arc::new(Elsewhere::default()));
    let repository = ModelRepository::with_source(Arc::new(source), runtimes);
    repository.add(ModelConfig::new(ModelRef { name: name.clone(), selector: Selector::Latest })).unwrap();
    assert_eq!(repository.sync().await.failed[0].1.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(repository.sync().await.into_result().unwrap(), [(name, Version(1))]);
}
