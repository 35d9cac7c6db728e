//! What the repository does with packages that cannot be loaded.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use mlops_core::{
    DataType, Error, ErrorKind, ModelName, ModelPackage, ModelRef, Selector, Signature, TensorSpec, Version,
};
use mlops_serve::{ClosureModel, DirectorySource, ModelConfig, ModelRepository, Runtimes};

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
