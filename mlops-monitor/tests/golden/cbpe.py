"""Makes cbpe.json: pip install nannyml==0.13.1 "pandas<2.1" "numpy<2" statsmodels"""
import os, json, warnings
os.environ['NML_DISABLE_USAGE_LOGGING']='1'
warnings.filterwarnings('ignore')
import numpy as np, pandas as pd, nannyml as nml, sklearn, scipy
from nannyml.calibration import NoopCalibrator
rng=np.random.default_rng(7)
def binary(n, shift):
    x=rng.normal(shift,1,n); p=1/(1+np.exp(-1.5*x)); y=(rng.random(n)<p).astype(int)
    s=np.round(1/(1+np.exp(-(2.6*x-0.8))),6)   # overconfident and shifted
    return pd.DataFrame(dict(score=s,pred=(s>=.5).astype(int),label=y))
ref=binary(500,0.); win=binary(200,.4)
# unique scores, lowest one negative (NannyML drops a positive of rank zero)
assert ref.score.is_unique and win.score.is_unique
ref.loc[ref.score.idxmin(),'label']=0
METR=['accuracy','precision','recall','specificity','f1','roc_auc','average_precision','confusion_matrix','business_value']
def run(cal):
    np.random.seed(0)
    est=nml.CBPE(metrics=METR,y_pred='pred',y_pred_proba='score',y_true='label',problem_type='classification_binary',chunk_size=50,calibrator=cal,
        business_value_matrix=[[1,-4],[-10,6]],normalize_business_value=None,normalize_confusion_matrix='all')
    est.fit(ref.copy()); 
    est.chunker=nml.chunk.SizeBasedChunker(chunk_size=200)
    res=est.estimate(win.copy()).filter(period='analysis').data
    out={}
    for m in [c for c in res.columns.get_level_values(0).unique() if c!='chunk']:
        r=res[m].iloc[0]; out[m]={k:float(r[k]) for k in ['value','sampling_error','upper_confidence_boundary','lower_confidence_boundary','upper_threshold','lower_threshold','realized'] if k in r}
        out[m]['alert']=bool(r['alert'])
    return out, est
a,e1=run(None); b,_=run(NoopCalibrator())
assert e1.needs_calibration
iso=e1.calibrator._regressor
# multiclass
def multi(n,shift):
    x=rng.normal(shift,1,(n,2)); z=np.c_[1.2*x[:,0],1.2*x[:,1],-0.5*(x[:,0]+x[:,1])]
    p=np.exp(z);p/=p.sum(1,keepdims=True); y=np.array([rng.choice(3,p=q) for q in p])
    s=np.exp(1.8*z+np.array([.4,0,-.4])); s/=s.sum(1,keepdims=True); s=np.round(s,6); 
    return pd.DataFrame(dict(a=s[:,0],b=s[:,1],c=s[:,2],pred=s.argmax(1),label=y))
mref=multi(600,0.); mwin=multi(200,.5)
np.random.seed(0)
MM=['accuracy','precision','recall','specificity','f1','roc_auc','average_precision']
me=nml.CBPE(metrics=MM,y_pred='pred',y_pred_proba={0:'a',1:'b',2:'c'},y_true='label',problem_type='classification_multiclass',chunk_size=60)
me.fit(mref.copy())
me.chunker=nml.chunk.SizeBasedChunker(chunk_size=200)
r=me.estimate(mwin.copy()).filter(period='analysis').data
mo={m:{k:float(r[m].iloc[0][k]) for k in ['value','sampling_error','upper_threshold','lower_threshold','realized']} for m in MM}
grid=[-1.,0.,.01,.05,.1,.2,.3,.4,.5,.6,.7,.8,.9,.95,.99,1.,2.]
gold=dict(made_with=dict(nannyml=nml.__version__,pandas=pd.__version__,numpy=np.__version__,scikit_learn=sklearn.__version__,scipy=scipy.__version__),
 binary=dict(value_matrix=dict(true_positive=6,false_positive=-4,false_negative=-10,true_negative=1),reference={k:ref[k].tolist() for k in ref},window={k:win[k].tolist() for k in win},
   calibrated=a,uncalibrated=b,isotonic=dict(at=grid,value=iso.predict(np.array(grid)).tolist())),
 multiclass=dict(reference=dict(scores=[mref[k].tolist() for k in 'abc'],pred=mref.pred.tolist(),label=mref.label.tolist()),window=dict(scores=[mwin[k].tolist() for k in 'abc'],pred=mwin.pred.tolist(),label=mwin.label.tolist()),estimates=mo))
json.dump(gold,open('cbpe.json','w'),separators=(',',':'))
